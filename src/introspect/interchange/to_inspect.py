"""A run as an Inspect log: messages with the chain as a reasoning block, verdicts and readouts as scores, token ids.

Every sample's metadata has its rollout under `introspect`, whole, so that the log gives back what the run holds
(`inspect_log.read_logged_rollouts`), and `introspect record --from` replays its token ids as they are. The log is
written by inspect-ai itself. Known trade-offs: it holds no activations, the prompt is the user's message as the task
wrote it (the rendered prompt is in the token ids), and the whole log is in memory while it is written, as inspect-ai
wants it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import RunError, SpecError
from ..link import Readout
from ..models.boundary import first_line
from ..models.formats import FORMATS
from ..notebook.folder import ROLLOUTS, RunFolder
from ..rollout import Rollout
from ..verdicts import Verdict
from .inspect_log import MAX_LOG_BYTES, OWN, SUFFIXES, inspect_api
from .outputs import new_place

STOP_REASONS = {"stop": "stop", "length": "max_tokens"}
UNUSABLE = "unusable"
"""Value of the score of a verdict that a classifier did not give."""


def export_inspect(run: RunFolder, out: Path) -> int:
    """Write a run's rollouts to an Inspect log; returns how many there are.

    Args:
        out: a new `.eval` or `.json` file.

    Raises:
        SpecError: another ending, inspect-ai is not installed, or there are more rollouts than one log is read with.
        RunError: it cannot be written.
        StoreError: the run is damaged.
    """
    if out.suffix not in SUFFIXES:
        raise SpecError(f"{out}: an Inspect log ends in .eval or .json; choose one of these endings")
    write = inspect_api(f"writing {out}").write_eval_log
    needed = (run.path / ROLLOUTS).stat().st_size
    if needed > MAX_LOG_BYTES:
        raise SpecError(f"{run.path} has {needed:,} bytes of rollouts, too many for one log; use --to parquet")
    log = make_log(run)
    with new_place(out, 2 * needed) as file:
        try:
            write(log, str(file.resolve()))
        except (ValueError, TypeError) as error:
            raise RunError(f"inspect-ai cannot write {out} ({first_line(error)}); use --to parquet") from error
    return len(run.rollouts)


def make_log(run: RunFolder) -> Any:
    """The `EvalLog` of a run."""
    api = inspect_api("an Inspect log")
    rollouts, ids = run.rollouts, sample_ids(run.rollouts)
    task = run.spec.name if run.is_experiment else "transcripts"
    return api.EvalLog(
        status="success",
        eval=api.EvalSpec(
            created=datetime.fromtimestamp((run.path / ROLLOUTS).stat().st_mtime, UTC).isoformat(timespec="seconds"),
            task=task,
            dataset=api.EvalDataset(name=task, samples=len(set(ids)), sample_ids=list(dict.fromkeys(ids))),
            model=f"introspect/{Path(str(run.model['name'])).name}",
            config=api.EvalConfig(epochs=max((each.sample + 1 for each in rollouts), default=1)),
        ),
        samples=[
            _sample(name, each, _scores(each, run.verdicts, run.readouts.get(each.rollout)))
            for name, each in zip(ids, rollouts, strict=True)
        ],
    )


def sample_ids(rollouts: Sequence[Rollout]) -> list[str]:
    """What samples are called: by item, with the condition where there are several, so that id and epoch are one each.

    Raises:
        RunError: two rollouts are the same sample of one item under one condition.
    """
    several = len({each.condition for each in rollouts}) > 1
    ids = [f"{each.item_id}/{each.condition}" if several else each.item_id for each in rollouts]
    counted = Counter((name, each.sample) for name, each in zip(ids, rollouts, strict=True))
    twice = next((name for (name, _), many in counted.items() if many > 1), None)
    if twice is not None:
        raise RunError(
            f"two rollouts are the same sample of {twice}, which an Inspect log cannot hold; use --to parquet"
        )
    return ids


def reasoning_and_text(rollout: Rollout) -> tuple[str | None, str]:
    """A completion's chain (None: it has none) and what comes after it, without delimiters and the end of the turn."""
    chain, text = rollout.think_text, rollout.completion_text
    if rollout.finish == "stop":
        text = next((text.removesuffix(end) for end in _ends() if text.endswith(end)), text)
    at = text.find(chain) if chain.strip() and rollout.think_status != "absent" else -1
    if at < 0:
        return None, text
    after = text[at + len(chain) :]
    for form in FORMATS.values():
        for close in form.closes:
            if after.lstrip().startswith(close):
                after = after.lstrip().removeprefix(close)
        for header in form.answer_opens:
            after = after.rpartition(header)[2]
    return chain.strip("\n"), after.lstrip("\n")


def _ends() -> list[str]:
    return [end for form in FORMATS.values() for end in form.ends]


def _sample(name: str, rollout: Rollout, scores: dict[str, Any]) -> Any:
    log, model = inspect_api("an Inspect log"), inspect_api("an Inspect log", "inspect_ai.model")
    chain, text = reasoning_and_text(rollout)
    content: Any = text
    if chain is not None:
        content = [model.ContentReasoning(reasoning=chain), model.ContentText(text=text)]
    said = model.ChatMessageAssistant(content=content, source="generate")
    choice = model.ChatCompletionChoice(message=said, stop_reason=STOP_REASONS[rollout.finish])
    about = {"condition": rollout.condition, "split": rollout.split, "domain": rollout.domain}
    return log.EvalSample(
        id=name,
        epoch=rollout.sample + 1,
        input=rollout.prompt_text,
        choices=list(rollout.options.values()) or None,
        target="",
        messages=[model.ChatMessageUser(content=rollout.prompt_text, source="input"), said],
        output=model.ModelOutput(choices=[choice]),
        scores=scores,
        metadata=about | rollout.about | {OWN: rollout.model_dump(mode="json")},
    )


def _scores(rollout: Rollout, verdicts: Mapping[str, Mapping[int, Verdict]], readout: Readout | None) -> dict[str, Any]:
    """`acted`, a score for each classifier's verdict, and `readout`, as far as there are any."""
    score = inspect_api("an Inspect log", "inspect_ai.scorer").Score
    found: dict[str, Any] = {}
    if rollout.acted is not None:
        found["acted"] = score(value=rollout.acted, answer=rollout.answer)
    for name, given in verdicts.items():
        if (said := given.get(rollout.rollout)) is not None:
            line = said.to_line(rollout.rollout)
            found[f"verdict_{name}"] = score(value=said.verdict or UNUSABLE, explanation=said.quote, metadata=line)
    if readout is not None:
        found["readout"] = score(
            value=readout.headline,
            explanation="log-odds that the headline probe gives to the policy; it says what activations predict",
            metadata=readout.model_dump(mode="json"),
        )
    return found
