"""The table of keys of a plan, which describes a comparison in a file."""

from basicsr_m2trans.options.values import Section, Value

SCALES = (2, 3, 4)

TEXT = Value((str,))
TEXTS = Value((list,), items=TEXT)
SECTION = Value((dict,))
NUMBER_ABOVE_0 = "give a number above 0"
LENGTH = Value((float,), minimum=1, whole=True, remedy=NUMBER_ABOVE_0)
SEED = Value((int,), minimum=0, maximum=2**32 - 1, remedy="NumPy takes seeds from 0 to 2**32 - 1")
SCALE = Value((int,), minimum=SCALES[0], maximum=SCALES[-1], remedy="choose from 2, 3 and 4")


def scale_key(scale: int) -> str:
    """The key that stands for a scale, as in the names of option files."""
    return f"x{scale}"


def _by_scale(value: Value) -> Section:
    return Section({scale_key(scale): value for scale in SCALES})


# What a plan may say for all methods and for single ones.
SHARED = {
    "iterations": Value(
        (float, dict), minimum=1, whole=True, remedy=NUMBER_ABOVE_0, section=_by_scale(LENGTH)
    ),
    "seeds": Value((list,), items=SEED),
    "scales": Value((list,), items=SCALE),
    "changes": SECTION,
    "scale_changes": Value((dict,), section=_by_scale(SECTION)),
}
METHOD = Value((dict,), section=Section({"base": TEXT, **SHARED}))
KEYS = {
    "data": TEXT,
    "out": TEXT,
    "methods": Value((list, dict), items=TEXT, section=Section({}, others=METHOD)),
    **SHARED,
    "minutes": Value((float,)),
    "validations": Value((int,), minimum=0, remedy="give 0 or more"),
    "tests": Value((dict,), section=Section({}, others=Value((str,), required=True))),
    "reference": TEXT,
    "panels": TEXTS,
    "options": TEXT,
}
PLAN = Value((dict,), required=True, section=Section(KEYS))
