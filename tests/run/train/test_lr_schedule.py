import pytest

from kdbatch.run.train.lr_schedule import lr_at
from kdbatch.vocab.recipes.schedule import Schedule


def test_the_lr_warms_up_and_falls_by_a_cosine() -> None:
    schedule = Schedule(epochs=10, batch_clips=1, lr=1.0, warmup_epochs=2.0, final_lr_share=0.1)
    rates = [lr_at(schedule, step=s, steps_per_epoch=5) for s in range(50)]
    assert rates[:10] == pytest.approx([0.1 * (s + 1) for s in range(10)])
    assert rates[10] == pytest.approx(1.0) and rates[30] == pytest.approx(0.55)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] > 0.1


def test_the_lr_falls_at_the_milestones() -> None:
    schedule = Schedule(
        epochs=240, batch_clips=1, lr=0.05, decay="steps", milestones=(0.625, 0.75, 0.875)
    )
    at = {
        epoch: lr_at(schedule, step=epoch * 3, steps_per_epoch=3)
        for epoch in (0, 149, 150, 179, 180, 210, 239)
    }
    expected = {0: 0.05, 149: 0.05, 150: 0.005, 179: 0.005, 180: 0.0005, 210: 0.00005, 239: 0.00005}
    assert at == pytest.approx(expected)
