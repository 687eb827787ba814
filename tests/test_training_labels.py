"""Labels for a negative control."""

from triher.training_labels import shuffled


def test_labels_are_permuted_within_sites_only():
    known = dict(zip("abcdefgh", [0, 0, 0, 0, 1, 2, 1, 2], strict=True))
    site = dict(zip("abcdefgh", "aaaabbbb", strict=True))
    draws = [shuffled(known, site, seed) for seed in range(10)]
    assert all([d[name] for name in "abcd"] == [0] * 4 for d in draws)
    assert all(sorted(d[name] for name in "efgh") == [1, 1, 2, 2] for d in draws)
    assert len({tuple(d.values()) for d in draws}) > 1


def test_the_order_of_the_table_does_not_matter():
    known = {f"P{i}": i % 3 for i in range(30)}
    site = dict.fromkeys(known, "A")
    backwards = dict(reversed(known.items()))
    assert shuffled(known, site, 4) == shuffled(backwards, site, 4)
