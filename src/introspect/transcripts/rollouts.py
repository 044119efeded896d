"""From transcripts to rollouts of one model: token ids, checked against it, and their spans."""

from __future__ import annotations

from collections import defaultdict

from ..errors import ModelError, SpecError
from ..models import LoadedModel, render_messages, render_prompt
from ..progress import Progress, silent
from ..rollout import Rollout, RolloutSpans
from ..spans import locate_spans
from .transcript import Source, Transcript

REASONING = {
    "harmony": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "gemma": ("<|channel>thought\n", "\n<channel|>"),
}
"""What stands before and after a chain that is given apart from the answer, in formats without think tags."""
THINK_TAGS = ("<think>\n", "\n</think>\n\n")


def _render(loaded: LoadedModel, transcript: Transcript) -> list[int]:
    """Token ids of a prompt in text, as `render_prompt` makes them."""
    if isinstance(transcript.prompt, str):
        return render_prompt(loaded, transcript.prompt, transcript.system)
    return render_messages(loaded, [message.model_dump() for message in transcript.prompt or ()])


def _written(loaded: LoadedModel, transcript: Transcript, prompt_ids: list[int]) -> str:
    """The completion in text, its chain between the model's delimiters.

    Raises:
        ValueError: the prompt and the completion do not go together.
    """
    form, completion = loaded.format, transcript.completion or ""
    begin, end = REASONING.get(form.name, THINK_TAGS)
    left = locate_spans(prompt_ids, [], loaded.tokenizer, form).status
    if transcript.reasoning is None:
        if left == "truncated" and completion.lstrip().startswith(form.opens[0].rstrip()):
            raise ValueError(f"the chat template already ends in {form.opens[0]!r}; take it out of the completion")
        return completion
    if left == "empty":
        raise ValueError("the chat template leaves no room for reasoning; give token ids")
    if left == "truncated":
        begin = begin.removeprefix(form.opens[0])
        begin = "" if loaded.tokenizer.decode(prompt_ids[-1:]).endswith("\n") else begin
    answer = end + completion.lstrip("\n") if completion else ""
    return begin + transcript.reasoning.strip("\n") + answer


def _token_ids(loaded: LoadedModel, transcript: Transcript, where: str) -> tuple[list[int], list[int]]:
    """Prompt and completion, each checked against the model.

    Raises:
        SpecError, ModelError: they do not fit it. Name the line.
    """
    name, config = loaded.info.name, loaded.model.config.get_text_config()
    if transcript.prompt_ids is not None and transcript.completion_ids is not None:
        prompt_ids, completion_ids = transcript.prompt_ids, transcript.completion_ids
    elif not loaded.tokenizer.chat_template:
        raise SpecError(
            f"{where}: {name} has no chat template to render a prompt with; give prompt_ids and completion_ids, or "
            "choose an instruction-tuned model"
        )
    else:
        try:
            prompt_ids = _render(loaded, transcript)
            text = _written(loaded, transcript, prompt_ids)
        except (ModelError, ValueError) as error:
            raise SpecError(f"{where}: {error}") from None
        completion_ids = loaded.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    if not completion_ids:
        raise SpecError(f"{where}: the completion has no tokens; remove the line")
    ids, known = [*prompt_ids, *completion_ids], loaded.model.get_input_embeddings().num_embeddings
    outside = next((token for token in ids if not 0 <= token < known), None)
    if outside is not None:
        raise SpecError(
            f"{where}: token id {outside} is none of the {known} of {name}; give ids of that model's own tokenizer"
        )
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and len(ids) > most:
        raise SpecError(f"{where}: {len(ids)} tokens are over the context of {name}, {most}; shorten or remove it")
    return prompt_ids, completion_ids


def as_rollouts(loaded: LoadedModel, source: Source, progress: Progress = silent) -> list[Rollout]:
    """The transcripts as rollouts of this model, in the order of the file.

    Raises:
        SpecError: one does not fit the model, or two are the same sample of one item. Names the line.
    """
    stops = loaded.format.stop_ids(loaded.tokenizer)
    taken: defaultdict[str, set[int]] = defaultdict(set)
    rollouts = []
    for number, (where, transcript) in enumerate(source.transcripts):
        prompt_ids, completion_ids = _token_ids(loaded, transcript, where)
        item_id = where.rpartition(":")[2] if transcript.id is None else str(transcript.id)
        used = taken[item_id]
        sample = next(i for i in range(len(used) + 1) if i not in used)
        if transcript.sample is not None:
            sample = transcript.sample
        if sample in used:
            raise SpecError(f"{where}: item {item_id!r} has a sample {sample} already; give each its own id or sample")
        used.add(sample)
        prompt = transcript.prompt
        if not isinstance(prompt, str):
            prompt = loaded.tokenizer.decode(prompt_ids) if prompt is None else prompt[-1].content
        spans = locate_spans(prompt_ids, completion_ids, loaded.tokenizer, loaded.format)
        rollouts.append(
            Rollout(
                rollout=number,
                item_id=item_id,
                group=item_id if transcript.group is None else str(transcript.group),
                task="transcripts",
                condition="plain",
                split="id",
                domain="",
                sample=sample,
                seed=0,
                prompt_ids=prompt_ids,
                completion_ids=completion_ids,
                prompt_text=prompt,
                completion_text=loaded.tokenizer.decode(completion_ids),
                chain_text=loaded.tokenizer.decode(completion_ids),
                think_text=loaded.tokenizer.decode((prompt_ids + completion_ids)[slice(*spans.think)]),
                spans=RolloutSpans(prompt=spans.prompt, think=spans.think, answer=spans.answer),
                think_status=spans.status,
                finish="stop" if completion_ids[-1] in stops else "length",
                answer=None,
                answer_position=None,
                acted=None,
                option_logprobs=[],
                options={},
                fields=transcript.fields,
                facts={},
                outcome={},
            )
        )
        progress("read transcripts", number + 1, len(source.transcripts))
    return rollouts
