import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from classify.attribution.neighborhood import nearest, purities
from classify.attribution.projection import METHODS, project


def clouds(n=60, apart=3.0, seed=0):
    """Three clouds in 20 dimensions, and which patient is of which."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    return rng.normal(size=(n, 20)) + apart * np.eye(20)[kind], kind


def letters(numbers):
    return [["zero", "low", "positive"][number] for number in numbers]


def test_neighbors_are_those_of_another_implementation_of_the_cosine():
    vectors, _ = clouds()
    alike = cosine_similarity(vectors)
    np.fill_diagonal(alike, -2)
    np.testing.assert_array_equal(nearest(vectors, 4), np.argsort(-alike, axis=1)[:, :4])
    assert nearest(vectors[:3], 10).shape == (3, 2)
    assert nearest(np.zeros((4, 5)), 2).shape == (4, 2), "vectors without a direction"


def test_purity_of_what_there_is_and_of_noise():
    vectors, kind = clouds(apart=4.0)
    rng = np.random.default_rng(1)
    sites = [str(number) for number in rng.integers(0, 2, 60)]
    of_class, of_site = purities(vectors, letters(kind), sites, seed=0)
    assert (of_class.target, of_class.n, of_class.groups, of_class.k) == ("class", 60, 3, 10)
    assert of_class.purity > 0.8
    assert of_class.p == 1 / 1000
    assert of_class.expected == pytest.approx(19 / 59, abs=0.05)
    assert of_site.p > 0.05
    assert of_site.purity == pytest.approx(of_site.expected, abs=0.06)


def test_a_class_that_only_the_sites_show_does_not_count():
    vectors, site = clouds()
    rng = np.random.default_rng(2)
    own = rng.random(60) < 0.8
    classes = letters(np.where(own, site, rng.integers(0, 3, 60)))
    of_class, of_site = purities(vectors, classes, [str(number) for number in site], seed=0)
    assert of_class.purity > 0.5
    assert of_class.p > 0.05
    assert of_site.p == 1 / 1000


def test_p_values_of_noise_are_spread_evenly():
    found = []
    for seed in range(40):
        vectors, kind = clouds(n=30, apart=0.0, seed=seed)
        found.append(purities(vectors, letters(kind), ["A"] * 30, seed=seed)[0].p)
    assert 0.3 < np.mean(found) < 0.7
    assert 2 <= sum(p < 0.25 for p in found) <= 20


def test_unknown_classes_are_left_out_and_one_site_is_no_target():
    vectors, kind = clouds()
    classes = ["", *letters(kind[1:])]
    (of_class,) = purities(vectors, classes, ["A"] * 60, seed=0)
    assert of_class.n == 59


def test_tsne_parts_what_lies_apart_and_gives_the_same_picture_again():
    vectors, kind = clouds(apart=8.0)
    ids = [f"P{i}" for i in range(60)]
    rows = project(vectors, ids, ["t-SNE"], seed=0)
    assert [row.patient_id for row in rows] == ids
    assert rows == project(vectors, ids, ["t-SNE"], seed=0)
    plane = np.array([(row.x, row.y) for row in rows])
    distance = np.linalg.norm(plane[:, None] - plane, axis=2) + 1e9 * np.eye(60)
    assert (kind[distance.argmin(axis=1)] == kind).mean() > 0.95


def test_few_patients_get_a_small_perplexity_or_no_picture():
    vectors, _ = clouds(n=12)
    assert len(project(vectors, [str(i) for i in range(12)], ["t-SNE"], seed=0)) == 12
    assert project(vectors[:9], [str(i) for i in range(9)], list(METHODS), seed=0) == ()


@pytest.mark.slow
def test_umap_parts_what_lies_apart_and_gives_the_same_picture_again():
    vectors, kind = clouds(apart=8.0)
    ids = [f"P{i}" for i in range(60)]
    rows = project(vectors, ids, ["UMAP"], seed=0)
    assert rows == project(vectors, ids, ["UMAP"], seed=0)
    plane = np.array([(row.x, row.y) for row in rows])
    distance = np.linalg.norm(plane[:, None] - plane, axis=2) + 1e9 * np.eye(60)
    assert (kind[distance.argmin(axis=1)] == kind).mean() > 0.95
