from pathlib import Path

import pytest

from basicsr_m2trans.cli import main
from basicsr_m2trans.cli.compare import named_folders, names, numbers
from basicsr_m2trans.utils.errors import InputError


def test_lists_are_split_and_repetitions_dropped():
    assert names("EDSR, HAT,EDSR,") == ["EDSR", "HAT"]
    assert numbers("2,4,2") == [2, 4]
    with pytest.raises(ValueError, match="invalid literal"):
        numbers("two")


def test_sets_are_named():
    assert named_folders(["carotid=a/b", "multi=c=d"]) == {
        "carotid": Path("a/b"),
        "multi": Path("c=d"),
    }


@pytest.mark.parametrize("entry", ["carotid", "=a", "carotid=", "a/b=c"])
def test_sets_of_another_form_are_refused(entry):
    with pytest.raises(InputError, match="write it as NAME=DIR"):
        named_folders([entry])


@pytest.mark.parametrize(
    ("methods", "arguments", "reference"),
    [
        ("bicubic,EDSR,M2Trans_open,M2Trans", [], "M2Trans_open"),
        ("BICUBIC,EDSR", [], "EDSR"),
        ("Bicubic,EDSR", ["--reference", "bicubic"], "Bicubic"),
    ],
)
def test_the_reference_is_always_one_of_the_methods(methods, arguments, reference, monkeypatch):
    found = []

    def comparison(settings, _):
        found.append(settings)
        raise InputError("enough")

    monkeypatch.setattr("basicsr_m2trans.apps.report.work.find_work", comparison)
    command = [
        "compare",
        "--data",
        "d",
        "--methods",
        methods,
        "--scales",
        "2",
        "--out",
        "o",
        "--iters",
        "5",
    ]
    assert main([*command, *arguments]) == 2
    assert found[0].reference == reference
    assert found[0].reference in found[0].methods


@pytest.mark.parametrize("text", ["5,EDSR", "EDSR=5", "5,EDSR=x", "5,EDSR=1,EDSR=2", ""])
def test_lengths_of_another_form_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        main(
            [
                "compare",
                "--data",
                "d",
                "--methods",
                "EDSR",
                "--scales",
                "2",
                "--out",
                "o",
                "--iters",
                text,
            ]
        )
    assert "write it as N or N,METHOD=N" in capsys.readouterr().err


def test_sets_of_one_name_are_refused():
    with pytest.raises(InputError, match="given twice"):
        named_folders(["a=b", "a=c"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "use --iters, --time-budget or both"),
        (["--iters", "0"], "--iters 0: give a number above 0"),
        (["--iters", "5,EDSR=0"], "--iters EDSR 0: give a number above 0"),
        (["--iters", "5,HAT=3"], "--iters HAT=...: --methods names no HAT that is trained"),
        (["--time-budget", "-1"], "--time-budget -1.0: give a number above 0"),
        (["--time-budget", "nan"], "--time-budget nan: give a finite number, or leave it out"),
        (
            ["--iters", "5", "--time-budget", "inf"],
            "--time-budget inf: give a finite number, or leave it out",
        ),
        (["--iters", "5", "--scales", "5"], "--scales 5: choose from 2, 3 and 4"),
        (["--iters", "5", "--seeds=-1,0"], "--seeds -1,0: NumPy takes seeds from 0"),
        (["--iters", "5", "--methods", ","], "--methods is empty; name at least one"),
        (["--iters", "5", "--validations", "-1"], "--validations -1: give 0 or more"),
    ],
)
def test_mistakes_give_status_2(arguments, message, tmp_path, capsys):
    command = [
        "compare",
        "--data",
        str(tmp_path),
        "--methods",
        "EDSR",
        "--scales",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*command, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_neither_a_plan_nor_an_argument_names_is_missing(capsys):
    assert main(["compare", "--methods", "EDSR", "--iters", "5"]) == 2
    error = capsys.readouterr().err
    for argument in ("data", "scales", "out"):
        assert f"{argument} is missing; add it to the plan, or give --{argument}" in error


def test_arguments_stand_for_the_keys_of_a_plan(tmp_path, monkeypatch):
    plan = tmp_path / "plan.yml"
    plan.write_text(
        "data: d\nout: o\nmethods: [bicubic, EDSR, M2Trans]\nscales: [2, 3]\nseeds: "
        "[1]\niterations: 9\nminutes: 4\nvalidations: 2\ntests: {a: b}\nreference: EDSR\npanels: "
        "[a/c]\noptions: p\n"
    )
    found = []

    def comparison(*arguments):
        found.append(arguments)
        raise InputError("enough")

    monkeypatch.setattr("basicsr_m2trans.apps.report.work.find_work", comparison)
    options = [
        "--data",
        "d",
        "--out",
        "o",
        "--methods",
        "bicubic,EDSR,M2Trans",
        "--scales",
        "2,3",
        "--seeds",
        "1",
    ]
    options += [
        "--iters",
        "9",
        "--time-budget",
        "4",
        "--validations",
        "2",
        "--test",
        "a=b",
        "--reference",
        "EDSR",
    ]
    options += ["--panels", "a/c", "--options", "p"]
    for arguments in (options, [str(plan)], [str(plan), *options]):
        assert main(["compare", *arguments]) == 2
    assert found[0] == found[1] == found[2]
    assert (
        main(["compare", str(plan), "--out", "x", "--seeds", "5,6", "--set", "train:amp=bf16"]) == 2
    )
    settings, out = found[-1]
    assert out == Path("x")
    assert settings.methods["EDSR"].seeds == (5, 6)
    assert settings.overrides == ("train:amp=bf16",)
    assert settings.tests == {"a": Path("b")}
