"""Mistakes of a training that configuration and cohort table show by themselves, found before a volume is read."""

from extract.encoder_spec import EncoderSpec
from extract.engines import picture_recipe
from extract.task import decide_pictures
from extract.training.design import make_design
from extract.training.drawing import require_one_view
from extract.training.networks import untrained
from extract.training.parts import expected_roster
from triher.cohort import read_cohort
from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.settings import Config, FinetuneConfig


def check_training(config: Config, spec: EncoderSpec) -> None:
    """Lay out the parts and build the network once, as if everybody had images; nothing is kept.

    Args:
        config: as for `extract.finetune.finetune`.
        spec: the encoder to start from.

    Raises:
        StopRun: ``config_value`` for options without effect, several views, or an encoder that cannot be trained so;
            as `extract.training.parts.make_roster`.
    """
    options = config.finetune or FinetuneConfig()
    _refuse_idle(options)
    if options.batch_size == 1:
        message = "finetune.batch_size is 1; expected at least 2 slices, whose statistics the network scales by"
        raise StopRun("config_value", message, remedy="raise finetune.batch_size; 16 to 64 are usual")
    require_one_view(picture_recipe(decide_pictures(config)))
    roster = expected_roster(config, read_cohort(config.cohort, survival=False))
    tasks = tuple(len(values) for values in roster.task_values.values())
    untrained(make_design(spec, options, len(scheme_classes(config.scheme)), tasks), None, config.seed)


def _refuse_idle(options: FinetuneConfig) -> None:
    """Refuse what was asked for and would change nothing."""
    if options.network == "plain" and options.heads != "parallel":
        message = f"finetune.heads is '{options.heads}', and a network with network=plain has no such heads"
        raise StopRun("config_value", message, remedy="set finetune.network to dual-attention, or take heads out")
    if options.network == "plain" and options.combine != "average":
        message = f"finetune.combine is '{options.combine}', and with network=plain there is one head alone"
        raise StopRun("config_value", message, remedy="set finetune.network to dual-attention, or take combine out")
    if options.heads == "tasks" and not options.also_predict:
        message = "finetune.heads is 'tasks', and finetune.also_predict names no further label"
        raise StopRun("config_value", message, remedy="name columns of cohort.groups under finetune.also_predict")
    if options.heads != "tasks" and options.also_predict:
        message = f"finetune.also_predict names {', '.join(options.also_predict)}, which only heads=tasks learns"
        raise StopRun("config_value", message, remedy="set finetune.heads to tasks, or take also_predict out")
