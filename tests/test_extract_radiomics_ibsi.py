"""Every radiomics feature has the value that IBSI publishes for its digital phantom.

Phantom and values: image biomarker standardisation initiative, arXiv 1612.07003v11 (CC BY 4.0), chapters 3 and 5, as
in the tables of its submission form for IBSI 1; the phantom is 5 x 4 x 4 voxels of 2 mm, of which 74 are lesion.
"""

import math

import numpy as np
import pytest

from extract.radiomics.features import feature_names, radiomics_features
from extract.radiomics.settings import RadiomicsSettings

# [slice, row, col]; 0 is outside the lesion.
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
MASK = PHANTOM > 0
SPACING_MM = (2.0, 2.0, 2.0)

# Value and tolerance of IBSI.
SHAPE = {
    "shape_mesh_volume_mm3": (556, 4),
    "shape_voxel_volume_mm3": (592, 4),
    "shape_surface_area_mm2": (388, 3),
    "shape_surface_to_volume_per_mm": (0.698, 0.004),
    "shape_sphericity": (0.843, 0.005),
    "shape_maximum_diameter_mm": (13.1, 0.1),
    "shape_major_axis_length_mm": (11.4, 0.1),
    "shape_minor_axis_length_mm": (9.31, 0.06),
    "shape_least_axis_length_mm": (8.54, 0.05),
    "shape_elongation": (0.816, 0.005),
    "shape_flatness": (0.749, 0.005),
    "shape_box_volume_density": (0.869, 0.005),
    "shape_box_area_density": (0.866, 0.005),
    "shape_hull_volume_density": (0.961, 0.006),
    "shape_hull_area_density": (1.03, 0.01),
}
# Tolerance 0: three digits.
INTENSITY = {
    "intensity_mean": 2.15,
    "intensity_variance": 3.05,
    "intensity_skewness": 1.08,
    "intensity_excess_kurtosis": -0.355,
    "intensity_median": 1,
    "intensity_minimum": 1,
    "intensity_percentile_10": 1,
    "intensity_percentile_90": 4,
    "intensity_maximum": 6,
    "intensity_interquartile_range": 3,
    "intensity_range": 5,
    "intensity_mean_absolute_deviation": 1.55,
    "intensity_robust_mean_absolute_deviation": 1.11,
    "intensity_median_absolute_deviation": 1.15,
    "intensity_coefficient_of_variation": 0.812,
    "intensity_quartile_coefficient_of_dispersion": 0.6,
    "intensity_energy": 567,
    "intensity_root_mean_square": 2.77,
    "histogram_entropy": 1.27,
    "histogram_uniformity": 0.512,
}
AGGREGATIONS = {
    "2.5D, direction-merged": {"dimensions": 2, "merged": False},
    "2.5D, merged": {"dimensions": 2, "merged": True},
    "3D, averaged": {"dimensions": 3, "merged": False},
    "3D, merged": {"dimensions": 3, "merged": True},
}
# A column for each of the aggregations.
TEXTURE = """
glcm_joint_maximum                               0.489   0.492   0.503   0.509
glcm_joint_average                               2.2     2.2     2.14    2.15
glcm_joint_variance                              3.22    3.24    3.1     3.13
glcm_joint_entropy                               2.48    2.61    2.4     2.57
glcm_difference_average                          1.46    1.44    1.43    1.38
glcm_difference_variance                         3.11    3.23    3.06    3.21
glcm_difference_entropy                          1.61    1.67    1.56    1.64
glcm_sum_entropy                                 2.01    2.14    1.92    2.11
glcm_angular_second_moment                       0.286   0.277   0.303   0.291
glcm_contrast                                    5.39    5.29    5.32    5.12
glcm_inverse_difference                          0.668   0.673   0.677   0.688
glcm_normalized_inverse_difference               0.847   0.85    0.851   0.856
glcm_inverse_difference_moment                   0.606   0.613   0.618   0.631
glcm_normalized_inverse_difference_moment        0.897   0.899   0.898   0.902
glcm_inverse_variance                            0.0597  0.0582  0.0604  0.0574
glcm_correlation                                 0.178   0.182   0.157   0.183
glcm_autocorrelation                             5.4     5.45    5.06    5.19
glcm_cluster_tendency                            7.48    7.65    7.07    7.41
glcm_cluster_shade                               16.6    16.4    16.6    17.4
glcm_cluster_prominence                          147     142     145     147
glcm_information_correlation_1                   -0.124  -0.0334 -0.157  -0.0288
glcm_information_correlation_2                   0.487   0.291   0.52    0.269
glrlm_short_run_emphasis                         0.665   0.68    0.705   0.729
glrlm_long_run_emphasis                          3.46    3.27    3.06    2.76
glrlm_low_gray_level_emphasis                    0.58    0.585   0.603   0.607
glrlm_high_gray_level_emphasis                   10.3    10.2    9.7     9.64
glrlm_short_run_low_gray_level_emphasis          0.296   0.312   0.352   0.372
glrlm_short_run_high_gray_level_emphasis         9.03    9.05    8.54    8.67
glrlm_long_run_low_gray_level_emphasis           2.79    2.63    2.39    2.16
glrlm_long_run_high_gray_level_emphasis          17.9    17      17.6    15.6
glrlm_gray_level_nonuniformity                   19.5    77.1    21.8    281
glrlm_normalized_gray_level_nonuniformity        0.413   0.412   0.43    0.43
glrlm_run_length_nonuniformity                   22.3    83.2    26.9    328
glrlm_normalized_run_length_nonuniformity        0.461   0.445   0.513   0.501
glrlm_gray_level_variance                        3.58    3.59    3.46    3.48
glrlm_run_length_variance                        0.758   0.767   0.574   0.598
glrlm_run_length_entropy                         2.52    2.76    2.43    2.62
glrlm_run_percentage                             0.632   0.632   0.68    0.68
glszm_small_zone_emphasis                        0.368   0.368   0.255   0.255
glszm_large_zone_emphasis                        34.2    34.2    550     550
glszm_low_gray_level_emphasis                    0.368   0.368   0.253   0.253
glszm_high_gray_level_emphasis                   16.2    16.2    15.6    15.6
glszm_small_zone_low_gray_level_emphasis         0.0295  0.0295  0.0256  0.0256
glszm_small_zone_high_gray_level_emphasis        9.87    9.87    2.76    2.76
glszm_large_zone_low_gray_level_emphasis         30.6    30.6    503     503
glszm_large_zone_high_gray_level_emphasis        107     107     1490    1490
glszm_gray_level_nonuniformity                   5.44    5.44    1.4     1.4
glszm_normalized_gray_level_nonuniformity        0.302   0.302   0.28    0.28
glszm_zone_size_nonuniformity                    3.44    3.44    1       1
glszm_normalized_zone_size_nonuniformity         0.191   0.191   0.2     0.2
glszm_gray_level_variance                        3.92    3.92    2.64    2.64
glszm_zone_size_variance                         17.3    17.3    331     331
glszm_zone_size_entropy                          3.08    3.08    2.32    2.32
glszm_zone_percentage                            0.243   0.243   0.0676  0.0676
ngldm_low_dependence_emphasis                    0.159   0.159   0.045   0.045
ngldm_high_dependence_emphasis                   18.8    18.8    109     109
ngldm_low_gray_level_emphasis                    0.693   0.693   0.693   0.693
ngldm_high_gray_level_emphasis                   7.66    7.66    7.66    7.66
ngldm_low_dependence_low_gray_level_emphasis     0.0477  0.0477  0.00963 0.00963
ngldm_low_dependence_high_gray_level_emphasis    3.07    3.07    0.736   0.736
ngldm_high_dependence_low_gray_level_emphasis    17.2    17.2    102     102
ngldm_high_dependence_high_gray_level_emphasis   50.8    50.8    235     235
ngldm_gray_level_nonuniformity                   37.9    37.9    37.9    37.9
ngldm_normalized_gray_level_nonuniformity        0.512   0.512   0.512   0.512
ngldm_dependence_count_nonuniformity             12.4    12.4    4.86    4.86
ngldm_normalized_dependence_count_nonuniformity  0.167   0.167   0.0657  0.0657
ngldm_gray_level_variance                        3.05    3.05    3.05    3.05
ngldm_dependence_count_variance                  3.27    3.27    22.1    22.1
ngldm_dependence_count_entropy                   3.36    3.36    4.4     4.4
ngldm_dependence_count_energy                    0.122   0.122   0.0533  0.0533
ngtdm_coarseness                                 0.0285  0.0285  0.0296  0.0296
ngtdm_contrast                                   0.601   0.601   0.584   0.584
ngtdm_busyness                                   6.8     6.8     6.54    6.54
ngtdm_complexity                                 14.1    14.1    13.5    13.5
ngtdm_strength                                   0.741   0.741   0.763   0.763
"""
GRAY_LEVELS = {"as they are": {"bin_count": None, "bin_width": 1.0}, "six bins": {"bin_count": 6}}


def three_digits(value: float) -> float:
    """Half a unit of the third digit, and a little for single precision."""
    return 0.501 * 10.0 ** (math.floor(math.log10(abs(value))) - 2)


def expected(column: int) -> dict[str, tuple[float, float]]:
    rows = [line.split() for line in TEXTURE.split("\n") if line]
    texture = {name: float(cells[column]) for name, *cells in rows}
    return SHAPE | {name: (value, three_digits(value)) for name, value in (INTENSITY | texture).items()}


@pytest.mark.parametrize("gray_levels", GRAY_LEVELS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_all_features_of_the_digital_phantom(aggregation, gray_levels):
    settings = RadiomicsSettings(resample_mm=None, **GRAY_LEVELS[gray_levels], **AGGREGATIONS[aggregation])
    values = expected(list(AGGREGATIONS).index(aggregation))
    found = dict(
        zip(feature_names(settings), radiomics_features(PHANTOM, MASK, SPACING_MM, settings).tolist(), strict=True)
    )
    assert values.keys() == found.keys()
    wrong = {
        name: (found[name], value) for name, (value, within) in values.items() if abs(found[name] - value) > within
    }
    assert wrong == {}
