import pytest
import torch
import torch.nn.functional as F


def test_work_of_a_convolution_and_of_its_backward():
    from floors import count_work

    x, weight = (
        torch.rand(2, 3, 8, 8, requires_grad=True),
        torch.rand(5, 3, 3, 3, requires_grad=True),
    )
    products, bytes_moved = 2 * 5 * 3 * 9 * 2 * 64, 4 * (x.numel() + weight.numel() + 2 * 5 * 64)
    with torch.no_grad():
        work = count_work(lambda: F.relu(F.conv2d(x, weight, padding=1)))
    assert work == ({torch.float32: products}, bytes_moved)
    gradient = torch.rand(2, 5, 8, 8)
    work = count_work(lambda: F.conv2d(x, weight, padding=1).backward(gradient))
    # Gradients of input and weight take as many products each; the backward reads the gradient and
    # both operands, and writes both gradients.
    assert work.operations == {torch.float32: 3 * products}
    assert work.bytes == 2 * bytes_moved + 4 * (x.numel() + weight.numel())


def test_work_of_batched_products_in_place_and_of_attention():
    from floors import count_work

    a, b = torch.rand(2, 4, 6), torch.rand(2, 6, 5)
    out = torch.zeros(2, 4, 5)
    # `baddbmm_` reads and writes what it adds to.
    assert count_work(lambda: out.baddbmm_(a, b)) == (
        {torch.float32: 2 * 240},
        4 * (48 + 60 + 2 * 40),
    )
    query, keys = (torch.rand(1, 2, length, 16, dtype=torch.bfloat16) for length in (64, 100))
    work = count_work(lambda: F.scaled_dot_product_attention(query, keys, keys))
    assert work.operations == {torch.bfloat16: 2 * 2 * 2 * 64 * 100 * 16}


def test_views_of_one_storage_count_once():
    from floors import count_work

    query, keys = torch.rand(1, 2, 64, 16), torch.rand(1, 2, 100, 16)
    work = count_work(lambda: F.scaled_dot_product_attention(query, keys, keys[..., :16]))
    # The attention itself also gives the logarithm of the sum of each query's scores.
    assert work.bytes == 4 * (2 * query.numel() + keys.numel() + 2 * 64)
    halves = torch.rand(2, 8, 8)
    assert count_work(lambda: halves[0] @ halves[1]).bytes == 4 * (halves.numel() + 64)


def test_floors_go_by_the_type_and_tf32():
    from floors import Rates, Work

    rates = Rates(copy=10, products={"float32": 2, "TF32": 4, "bfloat16": 8})
    work = Work({torch.float32: 16, torch.bfloat16: 16}, bytes=30)
    assert rates.floors(work, tf32=False) == (3, 10)
    assert rates.floors(work, tf32=True) == (3, 6)


def test_rates_of_this_machine():
    from floors import measure_rates, precisions

    rates = measure_rates(torch.device("cpu"), quick=True)
    # Between a tenth of an old computer's rates and a hundred times those of a new one's.
    assert 1e8 < rates.copy < 1e13
    assert set(rates.products) == set(precisions(torch.device("cpu"))) == {"float32", "bfloat16"}
    assert all(1e8 < rate < 1e15 for rate in rates.products.values())


@pytest.mark.parametrize(
    ("value", "floors", "seconds", "share"), [(2, (0.5, 1), True, 0.5), (30, (40, 60), False, 0.75)]
)
def test_the_nearer_limit_counts(value, floors, seconds, share):
    from reporting import reached

    assert reached(value, *floors, seconds) == share
