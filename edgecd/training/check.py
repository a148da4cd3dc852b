"""`edgecd check`: what training would refuse or should be told, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgecd.errors import EdgecdError, first_line
from edgecd.host.hub import Unreachable
from edgecd.tasks.demonstrations import Demonstrations, draw_demonstrations
from edgecd.tasks.survey import Survey, survey
from edgecd.tasks.task import Example, Task
from edgecd.training.check_record import STUDENT, TEACHER, Check, Estimate, ModelLook, Work
from edgecd.training.config import TrainConfig


def check(task: Task, config: TrainConfig, roles: Sequence[str], timed: bool) -> Check:
    """Look at a task's data, and with the tokenizers of those of its models that `roles` name.

    `timed` measures, where both are named, how long their work takes. What is wrong is part of the
    answer.
    """
    seen = survey(task, config.shots)
    shown = Demonstrations()
    if seen.shots is not None:
        config = replace(config, shots=seen.shots.number)
    faults, remarks = list(seen.faults), list(seen.remarks)
    if seen.shots is not None and seen.shots.number:
        try:
            shown = draw_demonstrations(
                seen.examples["train"], task.labels, seen.shots.number, config.seed
            )
        except EdgecdError as bad:
            faults.append(str(bad))
    models: list[ModelLook] = []
    texts = [one for some in seen.examples.values() for one in some]
    for role in roles:
        try:
            found = _look(role, task, config, texts, shown)
        except Unreachable as bad:
            remarks.append(f"{role}: not looked at: {bad}")
            continue
        except EdgecdError as bad:
            faults.append(f"{role}: {bad}")
            continue
        models.append(found)
        faults += found.faults
        remarks += _of_lengths(found)
    if any(one.role == STUDENT for one in models):
        from edgecd.training.student import check_student

        try:
            config = check_student(config, task.template)
        except EdgecdError as bad:
            faults.append(str(bad))
    told = None
    if timed and len(models) == 2 and not faults:
        told = _estimate(config, task, _work(config, seen, models), remarks)
    return Check(
        task=task.name,
        source=task.source,
        ok=not faults,
        faults=tuple(dict.fromkeys(faults)),
        remarks=tuple(remarks),
        labels=task.template.verbalizer,
        splits=seen.splits,
        overlaps=seen.overlaps,
        shots=seen.shots,
        models=tuple(models),
        estimate=told,
    )


def _look(
    role: str, task: Task, config: TrainConfig, texts: Sequence[Example], shown: Demonstrations
) -> ModelLook:
    from edgecd.training.look import look

    is_teacher = role == TEACHER
    return look(
        role,
        config.teacher if is_teacher else config.student,
        task.template,
        texts,
        shown if is_teacher else Demonstrations(),
        config.max_length,
    )


def _estimate(config: TrainConfig, task: Task, work: Work, remarks: list[str]) -> Estimate | None:
    from edgecd.training.estimate import estimate

    try:
        return estimate(config, task.template, work)
    except Exception as bad:  # a configuration that makes no model fails in its own way
        remarks.append(f"how long it takes could not be measured: {first_line(bad)}")
        return None


def _of_lengths(found: ModelLook) -> list[str]:
    lengths = found.lengths
    if not lengths.shortened:
        return []
    return [
        f"{found.role}: {lengths.shortened:,} of {lengths.texts:,} texts are longer than "
        f"--max-length {lengths.max_length} and will lose their end (the longest has "
        f"{lengths.longest:,} tokens)"
    ]


def _work(config: TrainConfig, seen: Survey, models: Sequence[ModelLook]) -> Work:
    """What a training with these options has to do; see `training.examples`."""
    sizes = {name: len(some) for name, some in seen.examples.items()}
    shown = seen.shots.number if seen.shots else 0
    pool = max(0, sizes.get("train", 0) - shown) + sizes.get("unlabelled", 0)
    held = next((sizes[name] for name in ("validation", "test") if name in sizes), 0)
    inputs = min(config.transfer + 128, pool) + min(config.heldout, held)
    lengths = {one.role: one.lengths.mean for one in models}
    return Work(
        scored=inputs * min(config.draws_per_text, config.context_draws) + 2 * shown,
        trained=min(config.transfer, pool) + shown,
        teacher_tokens=round(lengths[TEACHER]),
        student_tokens=round(lengths[STUDENT]),
        context_tokens=next(one.context_tokens for one in models if one.role == TEACHER),
    )
