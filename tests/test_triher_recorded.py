"""What a store says of itself gives the same extraction again."""

from dataclasses import asdict

import pytest

from extract.encoders import find_encoder
from extract.fusion import find_fusions
from extract.lanes import RadiomicsChoice
from extract.radiomics.settings import RadiomicsSettings
from extract.task import Task
from triher.recorded import encoder_options, recipe_options
from triher.settings import Config, CropConfig, ExtractConfig

PHASES = ("pre", "early", "late")
VIEWS = ("rgb", "late", "late-pre", "pre,early,early-pre", "mine=pre,early,late-pre", "kinetics")


def recipe(**extract) -> dict:
    config = Config.model_validate({"cohort": {"table": "cohort.csv"}, "extract": extract})
    return Task(config, (), find_fusions(config.extract.fusions, PHASES)).recipe()


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"fusions": VIEWS},
        {"region": {"kind": "ring", "ring_mm": 8.0}, "n4": "shared", "normalization": "zscore-joint"},
        {"slices": {"policy": "largest", "n": 3}},
    ],
)
def test_a_recipe_is_read_back(chosen):
    found = recipe(**chosen)
    assert recipe(**recipe_options(found)) == found


def test_the_standard_scale_goes_along():
    landmarks = [float(25 + 20 * i) for i in range(11)]
    assert recipe_options(recipe() | {"standard_scale": landmarks})["standard_scale"] == landmarks


def test_an_encoder_is_read_back_with_all_that_counts():
    settings = RadiomicsSettings(bin_count=None, bin_width=25.0, filters=("original", "log-2mm"))
    facts = RadiomicsChoice(find_encoder("radiomics"), settings).facts()
    options = ExtractConfig.model_validate(encoder_options(facts))
    assert options.encoder == "radiomics"
    assert RadiomicsSettings(**options.radiomics.model_dump()) == settings
    assert asdict(settings)["bin_width"] == 25.0
    crop = {"mode": "isotropic", "margin_mm": 4.0}
    again = encoder_options({"name": "fm-bcmri", "tokens": "cls", "precision": "bfloat16", "crop": crop})
    options = ExtractConfig.model_validate(again)
    assert (options.precision, options.tokens, options.crop) == ("bfloat16", "cls", CropConfig.model_validate(crop))
