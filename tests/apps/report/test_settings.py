from basicsr_m2trans.apps.report.settings import Method, method_name, plan_runs


def names(*methods):
    return [run.name for run in plan_runs(methods, [2])]


def test_runs_compare_all_methods_before_the_next_seed():
    assert names(
        Method("Bicubic", seeds=()), Method("EDSR", seeds=(0, 7)), Method("M2Trans", seeds=(0, 7))
    ) == [
        "Bicubic_x2",
        "EDSR_x2_seed0",
        "M2Trans_x2_seed0",
        "EDSR_x2_seed7",
        "M2Trans_x2_seed7",
    ]


def test_methods_may_have_seeds_of_their_own():
    assert names(
        Method("EDSR", seeds=(1,)), Method("M2Trans", seeds=(0, 1)), Method("Bicubic", seeds=())
    ) == [
        "EDSR_x2_seed1",
        "M2Trans_x2_seed1",
        "Bicubic_x2",
        "M2Trans_x2_seed0",
    ]


def test_bicubic_interpolation_may_be_alone():
    assert names(Method("Bicubic", seeds=())) == ["Bicubic_x2"]
    assert [method_name(text) for text in ("bicubic", "BICUBIC", "edsr")] == [
        "Bicubic",
        "Bicubic",
        "edsr",
    ]
