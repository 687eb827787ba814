"""The configuration that a run's later stages go by: with the trained encoder in the place of the one it began as."""

from typing import Any

from triher.errors import StopRun
from triher.runfolder import RunFolder
from triher.settings import Config, FinetuneConfig
from triher.store_compare import differing_keys

STAGE = "finetune"
HOW = ("resident", "devices")
"""Keys of ``finetune`` that change no weights but by rounding."""
_NOT_DRAWN = ("tokens", "crop", "radiomics")
"""Keys of ``extract`` that say nothing about the pictures of a training."""


def trains(config: Config) -> bool:
    """Whether an encoder is trained before it embeds; not where features come from a table."""
    return config.finetune is not None and config.has_images


def training_choices(config: Config) -> dict[str, Any]:
    """What the configuration says of a training, as JSON values; no weights are looked for."""
    own = config.finetune or FinetuneConfig()
    return {
        "extract": {key: value for key, value in config.extract.choices().items() if key not in _NOT_DRAWN},
        "finetune": own.model_dump(mode="json", exclude=set(HOW)),
        "split": config.classify.split.model_dump(mode="json", exclude={"reopen"}),
        "scheme": config.scheme,
        "seed": config.seed,
        "shuffle_labels": config.classify.shuffle_labels,
    }


def effective(config: Config, run: RunFolder) -> Config:
    """Let ``extract.encoder`` name the encoder that was trained in this folder, where the configuration asks for one.

    Raises:
        StopRun: ``weights_missing`` when none was trained here, ``encoder_stale`` when it was trained with other
            choices.
    """
    if config.finetune is None:
        return config
    record = run.read_record()["stages"].get(STAGE, {})
    path = run.encoders / record.get("encoder", "")
    if not path.is_file():
        message = f"the configuration has a section finetune, and no encoder was trained in {run.path}"
        raise StopRun("weights_missing", message, remedy="run 'triher finetune CONFIG' with the same --out first")
    differing = differing_keys(record.get("choices", {}), training_choices(config))
    if differing:
        message = f"{path.name} was trained with other choices: {'; '.join(differing)}"
        raise StopRun("encoder_stale", message)
    return config.with_extract(encoder=f"file:{path}")
