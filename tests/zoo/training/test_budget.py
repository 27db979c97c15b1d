import dataclasses

import pytest

from zoo.cost import Cost
from zoo.errors import BudgetError, ZooError
from zoo.training.budget import Budget
from zoo.training.feed import Phase


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("20s", 20, "seconds"),
        ("0.5s", 0.5, "seconds"),
        ("10min", 600, "seconds"),
        ("2h", 7200, "seconds"),
        ("1.5h", 5400, "seconds"),
        ("1step", 1, "steps"),
        ("500steps", 500, "steps"),
        ("2ksteps", 2_000, "steps"),
        ("1Msteps", 1_000_000, "steps"),
        ("1image", 1, "images"),
        ("50kimages", 50_000, "images"),
        ("0.5kimages", 500, "images"),
        ("1.5Mimages", 1_500_000, "images"),
        ("3GFLOP", 3e9, "flops"),
        ("1kGFLOP", 1e12, "flops"),
        ("2TFLOP", 2e12, "flops"),
        ("2PFLOP", 2e15, "flops"),
        ("  30 ksteps ", 30_000, "steps"),
        ("+5min", 300, "seconds"),
    ],
)
def test_every_unit_and_prefix(text, amount, unit):
    budget = Budget.parse(text)
    assert budget.amount == pytest.approx(amount, rel=1e-12)
    assert budget.unit == unit
    assert str(budget) == text.strip()


def test_minutes_are_not_mega_inches():
    assert Budget.parse("1min") == Budget(60, "seconds", "1min")


def test_a_budget_passes_through():
    budget = Budget.parse("3steps")
    assert Budget.parse(budget) is budget


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "steps",
        "ten steps",
        "10 parsecs",
        "10Min",
        "10KIMAGES",
        "10gflop",
        "1e3steps",
        "1,5h",
        "10s 5s",
        "10s\n5",
        "-5s",
        "0s",
        "0.0steps",
        "-0images",
        "0.5steps",
        "0.999images",
        "0.0001kimages",
        "infs",
        "nan s",
        "9" * 400 + "s",
        "9" * 400 + "steps",
        "20kh",
        None,
        10,
        10.0,
        b"10s",
        ["10s"],
    ],
)
def test_what_cannot_be_a_budget_is_refused_with_an_example(text):
    with pytest.raises(BudgetError) as caught:
        Budget.parse(text)
    message = str(caught.value)
    assert repr(text) in message
    assert "10min" in message
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ZooError)


COST = Cost(seconds=30, steps=20, images=640, flops=4e12)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("1min", 0.5),
        ("30s", 1),
        ("10s", 3),
        ("80steps", 0.25),
        ("6400images", 0.1),
        ("8TFLOP", 0.5),
    ],
)
def test_what_is_spent_is_counted_in_the_budget_s_own_unit(text, share):
    budget = Budget.parse(text)
    assert budget.spent(COST) / budget.amount == pytest.approx(share)
    others = {f.name: 1e30 for f in dataclasses.fields(Cost) if f.name != budget.unit}
    assert budget.spent(Cost(**others)) == 0


def test_a_phase_ends_at_its_part_of_the_budget_or_after_its_steps():
    phase = Phase(start=10, end=30, most_steps=8)
    assert (phase.progress(10), phase.progress(15), phase.progress(31)) == (0, 0.25, 1)
    assert not phase.is_over(29.9)
    assert phase.is_over(30)
    phase.steps = 6
    assert phase.progress(15) == 0.75
    phase.steps = 8
    assert phase.is_over(15)
    assert Phase(start=5, end=5).progress(5) == 1
    assert Phase(start=0, end=9, over=True).is_over(0)
