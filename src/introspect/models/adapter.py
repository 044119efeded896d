"""LoRA adapters: found, checked before any library sees them, and merged into the model.

The config of an adapter is data from someone else, and peft acts on it: some fields name modules to import or files to
unpickle. So its known fields are read here, every other one must be off, and peft gets a config that we have built.
Known trade-off: what LoRA variants need at load time (initialisations that change the base, extra tokens, trained
biases) is refused rather than half supported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..assets import organism_folder, user_path
from ..errors import ModelError
from .boundary import first_line, one_line, quiet
from .digests import digest_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
Rank = Annotated[int, Field(gt=0, le=8192)]
HARMLESS = {"megatron_core", "qalora_group_size", "peft_version", "inference_mode"}
"""Fields that are set but mean nothing without others that must be off."""


class AdapterConfig(BaseModel):
    """The fields of an `adapter_config.json` that decide what a merge does."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"] | None = None
    base_model_name_or_path: str
    revision: str | None = None
    r: Rank
    lora_alpha: Annotated[float, Field(gt=0)]
    lora_dropout: float = 0.0
    target_modules: list[str] | str
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    fan_in_fan_out: bool = False
    bias: Literal["none"] = "none"
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    init_lora_weights: bool | Literal["gaussian"] = True
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    rank_pattern: dict[str, Rank] = {}
    alpha_pattern: dict[str, float] = {}
    target_parameters: list[str] | None = None


@dataclass(frozen=True)
class AdapterSource:
    """An adapter that has been found, with its checked config."""

    name: str
    """As the user gave it."""
    folder: Path
    config: AdapterConfig
    base_digest: str | None
    """The base's weight digest, if the adapter's card states it."""

    def digest(self) -> str:
        """SHA-256 over the bytes of the config and then of the weights."""
        return digest_files([self.folder / CONFIG, self.folder / WEIGHTS])


def find_adapter(adapter: str | Path) -> AdapterSource:
    """An organism that ships with introspect, by name, or an adapter folder.

    Raises:
        ModelError: there is none, or it is not a LoRA adapter that can be merged safely.
    """
    name, folder = str(adapter), organism_folder(adapter)
    if not folder.is_dir():
        raise ModelError(f"there is no adapter folder {name}: check the path, or give an organism's name")
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} has no {CONFIG}, so it is no adapter: give the folder that peft saved")
    if not (folder / WEIGHTS).is_file():
        if (folder / "adapter_model.bin").exists():
            raise ModelError(
                f"{folder} has only adapter_model.bin, a pickle, which is not read: save it as safetensors"
            )
        raise ModelError(f"{folder} has no {WEIGHTS}: save or train the adapter again")
    return AdapterSource(name, folder, read_config(folder / CONFIG), _base_digest(folder / "card.json"))


def adapter_base(folder: str | Path) -> str:
    """The name of the model that an adapter says it was trained on.

    Raises:
        ModelError: it is not an adapter that can be used.
    """
    return find_adapter(folder).config.base_model_name_or_path


def read_config(path: Path) -> AdapterConfig:
    """Read and check an `adapter_config.json`. Fields we do not know must be off: null, false or empty.

    Raises:
        ModelError: names the file, the field and the remedy.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({first_line(error)}): save or train the adapter again") from None
    if not isinstance(document, dict):
        raise ModelError(f"{path} is damaged (not a JSON object): save or train the adapter again")
    known: dict[str, Any] = {}
    for key, value in document.items():
        if key in AdapterConfig.model_fields:
            known[key] = value
        elif key not in HARMLESS and value:
            raise ModelError(f"{path} sets {key!r}, which is not supported: give a plain LoRA adapter")
    try:
        return AdapterConfig.model_validate({key: value for key, value in known.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"][:1]))
        raise ModelError(f"{path}: {field}: {first['msg']}; give a plain LoRA adapter that peft saved") from None


def check_base(
    adapter: AdapterSource,
    name: str,
    path: Path,
    *,
    requested: str | None = None,
    commit: str | None = None,
    digest: str | None = None,
) -> None:
    """Refuse an adapter that was trained on another model.

    A base weight digest in the adapter's card decides, once the model's is known. Without one the adapter's base must
    be the model's name or its path; a local model's name may differ as long as a digest will be compared later.

    Args:
        name, path: of the model.
        requested, commit: the revision that the user asked for, and the commit that it is.
        digest: the model's weight digest; None while it is not known.

    Raises:
        ModelError: names both models and the remedy.
    """
    base, revision = adapter.config.base_model_name_or_path, adapter.config.revision
    if adapter.base_digest is not None and digest is not None:
        if adapter.base_digest != digest:
            raise ModelError(
                f"adapter {adapter.name} was trained on {base} with other weights than {name} has: "
                "use that model, or train the adapter again"
            )
        return
    if base != name and not _same_path(base, path):
        if adapter.base_digest is not None and commit is None:
            return
        raise ModelError(
            f"adapter {adapter.name} was trained on {base}, not on {name}: use that model; if they are the same, "
            f"write {name} as base_model_name_or_path in its {CONFIG}"
        )
    if commit is not None and revision not in {None, requested or "main", commit}:
        raise ModelError(
            f"adapter {adapter.name} was trained on revision {revision} of {base}, not on {requested or commit}: "
            f"ask for revision {revision}"
        )


def merge(model: PreTrainedModel, adapter: AdapterSource) -> PreTrainedModel:
    """Add the adapter to the weights of a float32 model, in float32, so that inference pays nothing for it.

    Raises:
        ModelError: the adapter's layers or shapes are not the model's, its values are not finite, or it changes
            embeddings that the model ties.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    what = f"adapter {adapter.name}"
    remedy = "check that it was trained on this model, or train it again"
    settings = adapter.config.model_dump(exclude_none=True, exclude={"peft_type", "task_type", "revision"})
    config = LoraConfig(**settings | {"init_lora_weights": True, "inference_mode": True, "task_type": "CAUSAL_LM"})
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    tied = None not in ends and ends[0].weight.data_ptr() == ends[1].weight.data_ptr()
    with one_line(what, remedy), quiet():
        weights = {key: value.float() for key, value in load_file(adapter.folder / WEIGHTS).items()}
        peft_model = get_peft_model(model, config, low_cpu_mem_usage=True)
        result = set_peft_model_state_dict(peft_model, weights, low_cpu_mem_usage=True)
    if result.unexpected_keys:
        raise ModelError(
            f"{what} has weights for {result.unexpected_keys[0]}, which {type(model).__name__} lacks: {remedy}"
        )
    left = [name for name, parameter in peft_model.named_parameters() if parameter.is_meta]
    if left:
        raise ModelError(f"{what} has no weights for {left[0]}: {remedy}")
    if tied and _changes_embeddings(peft_model.get_base_model()):
        raise ModelError(f"{what} changes embeddings that this model ties to its head: train it on linear layers only")
    with one_line(what, remedy), quiet():
        return peft_model.merge_and_unload(safe_merge=True)


def _changes_embeddings(model: PreTrainedModel) -> bool:
    """Whether peft has wrapped either end. Where they are tied, a merge into one would change the other."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return any(isinstance(end, BaseTunerLayer | ModulesToSaveWrapper) for end in ends)


def _same_path(base: str, path: Path) -> bool:
    return user_path(base).resolve() == path.resolve()


def _base_digest(card: Path) -> str | None:
    if not card.exists():
        return None
    try:
        digest = json.loads(card.read_text(encoding="utf-8")).get("base_weight_digest")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{card} is damaged ({first_line(error)}): train the organism again, or remove it") from None
    if digest is not None and not isinstance(digest, str):
        raise ModelError(f"{card}: base_weight_digest is not text: train the organism again")
    return digest
