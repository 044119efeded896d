"""Verdicts by a model judge: chains in, verdicts out, with what they cost.

The judge is an endpoint (`spec.url`) or a local model. Either way replies are kept in the run directory, so that only
what has never been asked is asked.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SpecError
from .models import LoadedModel, load_model, render_messages, resolve
from .models.digests import digest_files, weight_files
from .progress import Progress, silent
from .sections import JudgeSpec
from .stats import proportion
from .verdicts import Subject, Verdict
from .verdicts.cache import CACHE, Reply, ReplyCache, request_key
from .verdicts.endpoint import BEYOND_CONTEXT, Endpoint, NoReplyError
from .verdicts.judge import JUDGE, judge_prompt, read_reply, unusable

Chain = tuple[int, str, Subject]
"""Number of a rollout, its chain, and what a verdict on it is about."""

STAGE = "judge"
PART = 16
"""Chains that a local judge reads at once, and that a kill may lose."""


@dataclass(frozen=True)
class Judged:
    """What a judge said of the chains that it was shown."""

    verdicts: dict[int, Verdict]
    """Rollout -> verdict, usable or not."""
    section: dict[str, Any]
    """For results.json: the same however many of the replies had been given before."""
    spent: dict[str, Any]
    """What this call asked for and cost. To be shown, not kept: it is nothing the second time."""


def choose_chains(chains: Sequence[Chain], most: int | None) -> list[Chain]:
    """At most `most` of the chains, by the digests of their rollouts' numbers, so that what they did plays no part."""
    if most is None or len(chains) <= most:
        return list(chains)
    digests = {number: hashlib.sha256(f"judge/{number}".encode()).digest() for number, _, _ in chains}
    kept = set(sorted(digests, key=digests.__getitem__)[:most])
    return [chain for chain in chains if chain[0] in kept]


def check_judge(spec: JudgeSpec, *, offline: bool = False) -> None:
    """Refuse a judge that could not be asked; sends nothing, and loads no model.

    Raises:
        SpecError, ModelError: the endpoint's address or key will not do, or there is no such model.
    """
    if spec.url is None:
        resolve(spec.model, adapter=spec.organism, offline=offline)
        return
    with Endpoint(spec, offline=offline):
        pass


def judge_chains(
    spec: JudgeSpec, chains: Sequence[Chain], run: Path, *, offline: bool = False, progress: Progress = silent
) -> Judged:
    """Have at most `spec.sample` chains judged, each rollout at most once.

    A chain without a word is silent, and not asked about.

    Args:
        chains: what stands before the answer in each rollout, whether it acted or not.
        run: the run directory, where replies are kept.

    Raises:
        SpecError: the endpoint's address or key will not do, or it refuses the request as it is.
        ModelError: the local judge cannot be loaded.
        RunError: replies cannot be kept, or memory is short.
    """
    chosen = choose_chains(chains, spec.sample)
    prompts = {number: judge_prompt(chain, subject.what) for number, chain, subject in chosen if chain.strip()}
    settings = _settings(spec, offline=offline)
    keys = {number: request_key(settings, prompt) for number, prompt in prompts.items()}
    with ReplyCache(run / CACHE) as cache:
        missing = {keys[number]: prompt for number, prompt in prompts.items() if cache.get(keys[number]) is None}
        ask = _ask_model if spec.url is None else _ask_endpoint
        failed = ask(spec, missing, cache, offline=offline, progress=progress) if missing else {}
        replies = {key: reply for key in keys.values() if (reply := cache.get(key)) is not None}
    verdicts = {}
    for number, chain, _ in chosen:
        key = keys.get(number)
        if key is None:
            verdicts[number] = Verdict(JUDGE, "silent", False, False, False, None)
        elif key in replies:
            verdicts[number] = read_reply(replies[key].text, chain, cut=replies[key].cut)
        else:
            verdicts[number] = unusable(failed[key])
    new = [reply for key, reply in replies.items() if key in missing]
    problems = Counter(verdict.problem for verdict in verdicts.values() if verdict.problem is not None)
    section = {
        "classifier": JUDGE,
        "model": spec.model,
        "organism": spec.organism,
        "url": spec.url,
        "chains": len(chains),
        "judged": len(chosen),
        "without_text": len(chosen) - len(prompts),
        "usable": proportion(len(chosen) - problems.total(), len(chosen)).to_json(),
        "problems": dict(sorted(problems.items())),
        **_cost(spec, list(replies.values())),
    }
    spent = {"requests": len(missing), "from_cache": len(replies) - len(new), "without_reply": len(failed)}
    return Judged(verdicts, section, spent | _cost(spec, new))


def _settings(spec: JudgeSpec, *, offline: bool) -> dict[str, object]:
    """What a reply depends on besides the prompt; of a local judge, the weights themselves."""
    drawn: dict[str, object] = {"temperature": 0, "max_new_tokens": spec.max_new_tokens}
    if spec.url is not None:
        return drawn | {"url": spec.url, "model": spec.model}
    source = resolve(spec.model, adapter=spec.organism, offline=offline)
    weights = source.weight_digest or source.revision
    if weights is None:
        weights = digest_files([source.path] if source.kind == "gguf" else weight_files(source.path))
    adapter = None if source.adapter is None else source.adapter.digest()
    return drawn | {"model": source.name, "weights": weights, "adapter": adapter}


def _cost(spec: JudgeSpec, replies: Sequence[Reply]) -> dict[str, Any]:
    """Tokens of replies and, of an endpoint with prices, dollars."""
    prompt = sum(reply.prompt_tokens or 0 for reply in replies)
    said = sum(reply.reply_tokens or 0 for reply in replies)
    prices = None if spec.url is None or None in (spec.price_in, spec.price_out) else (spec.price_in, spec.price_out)
    dollars = None if prices is None else round((prompt * (prices[0] or 0) + said * (prices[1] or 0)) / 1e6, 6)
    return {
        "prompt_tokens": prompt,
        "reply_tokens": said,
        "replies_without_token_counts": sum(None in (reply.prompt_tokens, reply.reply_tokens) for reply in replies),
        "dollars": dollars,
    }


def _ask_endpoint(
    spec: JudgeSpec, missing: Mapping[str, str], cache: ReplyCache, *, offline: bool, progress: Progress
) -> dict[str, str]:
    """Put every reply in the cache as it comes; key of a prompt without one -> why."""
    failed = {}
    with Endpoint(spec, offline=offline) as endpoint:

        def ask(prompt: str, key: str) -> None:
            cache.put(key, endpoint.ask(prompt))

        with ThreadPoolExecutor(spec.concurrency) as threads:
            asked = {threads.submit(ask, prompt, key): key for key, prompt in missing.items()}
            try:
                for done, future in enumerate(as_completed(asked), start=1):
                    try:
                        future.result()
                    except NoReplyError as why:
                        failed[asked[future]] = str(why)
                    progress(STAGE, done, len(missing))
            finally:
                endpoint.stop()
    return failed


def _ask_model(
    spec: JudgeSpec, missing: Mapping[str, str], cache: ReplyCache, *, offline: bool, progress: Progress
) -> dict[str, str]:
    """As `_ask_endpoint`, of a model on this machine."""
    from .backends import Sampling, check_ids, make_backend
    from .record import stop_ids
    from .run_folder import enough_memory

    loaded = load_model(spec.model, adapter=spec.organism, offline=offline)
    backend = make_backend("auto", loaded.model)
    sampling = Sampling(spec.max_new_tokens, 0.0, stop_ids(loaded))
    prompts, failed = {}, {}
    for key, prompt in missing.items():
        ids = render_messages(loaded, [{"role": "user", "content": prompt}])
        try:
            check_ids(loaded.model, [ids], room=spec.max_new_tokens)
        except SpecError:
            failed[key] = BEYOND_CONTEXT
        else:
            prompts[key] = ids
    order = sorted(prompts, key=lambda key: (-len(prompts[key]), key))
    for start in range(0, len(order), PART):
        part = order[start : start + PART]
        with enough_memory("the judge", "choose a smaller verdicts.judge.model, or an endpoint"):
            made = backend.generate(
                [prompts[key] for key in part], seeds=[0] * len(part), sampling=sampling, capture=None
            )
        for key, generation in zip(part, made, strict=True):
            reply = Reply(
                text=_answer(loaded, prompts[key], generation.completion_ids),
                cut=generation.finish == "length",
                prompt_tokens=len(prompts[key]),
                reply_tokens=len(generation.completion_ids),
            )
            cache.put(key, reply)
        progress(STAGE, len(failed) + start + len(part), len(missing))
    return failed


def _answer(loaded: LoadedModel, prompt_ids: list[int], completion_ids: list[int]) -> str:
    """What a judge says once it has thought."""
    from .spans import locate_spans

    start, stop = locate_spans(prompt_ids, completion_ids, loaded.tokenizer, loaded.format).answer
    return str(loaded.tokenizer.decode((prompt_ids + completion_ids)[start:stop]))
