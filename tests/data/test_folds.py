from stroke_nets.data.folds import size_balanced


def test_each_five_in_order_of_size_go_to_five_folds():
    volumes = [7, 3, 9, 1, 5, 8, 2, 6, 4, 10]
    folds = size_balanced(volumes, 5, seed=1)
    small = [f for v, f in zip(volumes, folds, strict=True) if v <= 5]
    assert sorted(small) == sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert folds == size_balanced(volumes, 5, seed=1)


def test_a_remainder_is_dealt_too():
    assert len(set(size_balanced([1, 2, 3], 5, seed=0))) == 3
