"""Save, load and push a fitted protector: config.json, model.safetensors, and a card with a picture of the noise."""

import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, get_type_hints

import numpy as np
import torch
from huggingface_hub import HfApi, ModelCard, ModelHubMixin, constants, hf_hub_download
from huggingface_hub.errors import HFValidationError, RemoteEntryNotFoundError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from uc_hf.errors import NotFittedError, SettingError, SurrogateError, UCError, first_line
from uc_hf.fitting.record import ALGORITHM, FitT
from uc_hf.fitting.schema import check, check_value
from uc_hf.fitting.settings import CommonSettings, SurrogateSpec
from uc_hf.protecting.public import public_settings
from uc_hf.protecting.saved_config import FORMAT, check_config, check_version, digest_of, naming_source
from uc_hf.reports import markdown, templates
from uc_hf.surrogates.surrogate import Embedder


UNBOUNDED = "unbounded"

MODEL, NOISE = "model.safetensors", "noise.png"

DRAWN = 12
"""Largest number of noises in the picture that is saved with each protector; a thousand would take minutes."""


class Shared(
    ModelHubMixin,
    Generic[FitT],
    library_name="uc_hf",
    tags=["unlearnable", "data-protection"],
    repo_url="https://github.com/uc-hf/uc_hf",
    model_card_template=templates.text("protector-card.md"),
):
    """What a protector is made of, settings and fit, and how that is written down and read again.

    Attributes:
        method: its name, as `protector_for` and the command line take it.
        title: its name in full.
        reference: the paper it comes from.
        bounded: whether no pixel changes by more than epsilon; checked on what is stored.
        settings_type: of its settings.
        fit_type: of what it learns.
    """

    method: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    bounded: ClassVar[bool] = True
    settings_type: ClassVar[type[CommonSettings]]
    fit_type: ClassVar[type[Any]]

    settings: CommonSettings
    _fit: FitT | None
    _surrogate: Embedder | None
    _device: torch.device | None

    @property
    def removable(self) -> bool:
        """Whether `remove` can take the noise off: it is its group's, or can be found in the protected image."""
        return True

    @classmethod
    def restored(cls, settings: CommonSettings, fit: FitT | None, surrogate: Embedder | None = None) -> Self:
        """A fitted protector from its parts.

        Args:
            settings: of the method.
            fit: what was learnt; None of one that is not fitted.
            surrogate: that the fit was made with; None to load it when it is needed.
        """
        protector = cls.__new__(cls)
        protector.settings, protector._fit, protector._surrogate = settings, fit, surrogate
        protector._device = None
        return protector

    @classmethod
    def read_settings(cls, values: Mapping[str, Any]) -> CommonSettings:
        """Settings from keywords.

        Raises:
            SettingError: an unknown name, or a value out of its range.
        """
        return cls.settings_type.from_mapping(values)

    @classmethod
    def upgrade_settings(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that an earlier version has saved, as this one reads them.

        Raises:
            SettingError: this version cannot do what they ask for.
        """
        return dict(saved)

    def restore_fit(self, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> FitT:
        """What was learnt by these settings, from a saved file's arrays and the facts beside them."""
        return self.fit_type.restore(arrays, facts)

    def check_fitted(self) -> None:
        """Refuse what this method cannot have learnt, of a protector that comes from elsewhere.

        Raises:
            SettingError: a field of the settings or the fit is not what it has to be; it is named.
        """
        check(self.settings, within="settings.")
        self.fitted.check()

    @property
    def fitted(self) -> FitT:
        """What was learnt.

        Raises:
            NotFittedError: `fit` was not called yet.
        """
        if self._fit is None:
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted. Write ds.map(protector.fit(ds), batched=True), or load a "
                f"fitted one with {type(self).__name__}.from_pretrained(...)."
            )
        return self._fit

    def canvases(self, size: int | None = None) -> np.ndarray:
        """The noise of each group on a square, for figures, measures and controls.

        Args:
            size: side in pixels; None for that of the canvas on which it was learnt.

        Returns:
            int8 [p, 3, size, size] in 8-bit levels within epsilon.
        """
        return self.fitted.noise.canvases(size).clip(-self.settings.levels, self.settings.levels)

    @property
    def limit(self) -> str:
        """How far a pixel may change, in words."""
        return f"{self.settings.epsilon * 255:g}/255" if self.bounded else UNBOUNDED

    @property
    def reach(self) -> str:
        """Of which training labels the protection holds, as cards tell it."""
        return "whatever labels it is given"

    @property
    def slug(self) -> str:
        """The title as a tag on the Hub."""
        return self.title.lower().replace(" ", "-")

    @property
    def is_fitted(self) -> bool:
        """Whether the protector can be applied."""
        return self._fit is not None

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / MODEL).write_bytes(save(self.fitted.arrays()))
        config = {
            "format": FORMAT,
            "algorithm": ALGORITHM,
            "method": self.method,
            "uc_hf_version": version("uc_hf"),
            "settings": self.settings.plain(),
            "fit": self.fitted.facts(),
        }
        config["digest"] = digest_of(config, self.fitted.arrays())
        (save_directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        self._draw_noise(save_directory / NOISE)
        # The mixin would keep an existing card, which describes another protector.
        (save_directory / constants.REPOCARD_NAME).unlink(missing_ok=True)

    def _draw_noise(self, path: Path) -> None:
        # Here, since matplotlib takes a second to import, and map's workers import this module.
        from uc_hf.reports.figures import noise_gallery

        figure = noise_gallery(self.canvases()[:DRAWN], self.settings.epsilon)
        figure.savefig(path, dpi=100, metadata={"Software": None})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Load a saved protector; see `huggingface_hub.ModelHubMixin.from_pretrained`.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the Hub.
            **options: `surrogate` where it was fitted with one of its owner's own; others as the mixin's.

        Raises:
            SettingError: there is none of this method, or it is damaged, or not what this method can have learnt.
        """
        place = str(pretrained_model_name_or_path)
        if Path(place).is_file():
            raise SettingError(
                f"{place!r} is a file, not a protector's folder. A key opens with open_protector(FILE)."
            )
        try:
            return super().from_pretrained(place, **options)
        except HFValidationError as error:
            raise SettingError(
                f"there is no folder {place!r}, and that is no name on the Hub, which is written USER/NAME."
            ) from error
        except (ValueError, RecursionError, AttributeError) as error:
            if isinstance(error, UCError):
                raise
            raise SettingError(
                f"{place!r} cannot be read: its config.json is damaged ({first_line(error)}). Copy it again."
            ) from error

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        config: dict[str, Any] | None = None,
        surrogate: SurrogateSpec | None = None,
        **others: Any,
    ) -> Self:
        def fetch(name: str) -> Path:
            if Path(model_id).is_dir():
                return Path(model_id) / name
            path = hf_hub_download(
                model_id,
                name,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
            return Path(path)

        saved = config if isinstance(config, dict) else {}
        if "format" not in saved or "fit" not in saved:
            with suppress(RemoteEntryNotFoundError):
                fetch(constants.CONFIG_NAME)  # the mixin keeps a refusal of the Hub to itself: ask again and raise it
            raise SettingError(f"{model_id!r} is not a saved {cls.__name__}: its config.json names no format.")
        if (method := saved.get("method", "uc")) != cls.method:
            raise SettingError(
                f"{model_id!r} was made by the method {method!r}, not {cls.method!r}: open_protector({model_id!r}) "
                "loads any of them."
            )
        if unknown := sorted(others.keys() - saved.keys()):
            raise SettingError(
                f"{unknown[0]!r} cannot be changed in a fitted protector: fit again with "
                f"{cls.__name__}({unknown[0]}=...). Only surrogate= can be passed along."
            )
        with naming_source(model_id, saved):
            check_version(saved)
        try:
            tensors = load_file(fetch(MODEL))
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            raise SettingError(f"{model_id!r}: its {MODEL} is missing or damaged. Copy it again.") from error
        with naming_source(model_id, saved):
            check_config(saved, tensors)
            settings = cls.upgrade_settings(saved["settings"])
        settings |= {} if surrogate is None else {"surrogate": surrogate}
        if settings.get("surrogate", "") is None:
            raise SurrogateError(
                f"{model_id!r} was fitted with a surrogate of its owner's own: pass it, as in "
                f"{cls.__name__}.from_pretrained({model_id!r}, surrogate=Surrogate(my_encoder, size=..., ...))."
            )
        with naming_source(model_id, saved):
            for name, hint in get_type_hints(cls.settings_type).items():
                if name in settings:
                    check_value(f"settings.{name}", settings[name], hint)
            read = cls.read_settings(settings)  # not by __init__, which would fit to what `fit_to` names
            protector = cls.restored(read, cls.restored(read, None).restore_fit(tensors, saved["fit"]))
            protector.check_fitted()
            if odd := sorted(tensors.keys() ^ protector.fitted.arrays().keys()):
                raise SettingError(f"its {MODEL} holds {odd[0]!r}, which is not part of the fit.")
        return protector

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card of the protector's repository: that it is the removal key, and what it has learnt."""
        learnt, settings = self.fitted, self.settings
        groups, digest = learnt.groups(), learnt.surrogate_digest
        facts = {
            "fit": learnt.summary(),
            "column": learnt.column,
            "bound on the noise": self.limit,
            "surrogate's revision": learnt.surrogate_revision or "none: it is not on the Hub",
            "surrogate's digest": "none" if digest is None else markdown.code(digest),
        }
        shown = "each group" if len(groups) <= DRAWN else f"the first {DRAWN} of {len(groups)} groups"
        return super().generate_model_card(
            *args,
            learnt=_table(facts, "fact"),
            groups=markdown.table([{name: str(value) for name, value in row.items()} for row in groups]),
            class_name=type(self).__name__,
            removable=self.removable,
            title=self.title,
            reference=self.reference,
            settings=_table(settings.plain(), "setting"),
            versions=", ".join(f"{name} {number}" for name, number in versions().items()),
            caption=f"The noise of {shown} above its spectrum",
            **kwargs,
        )

    def push_to_hub(self, repo_id: str, *, private: bool | None = True, **kwargs: Any) -> str:
        """Push to a Hub model repository, private unless asked otherwise: it is the removal key.

        A surrogate on your disk is not named there: `from_pretrained(repo_id, surrogate=FOLDER)` brings it back.

        Args:
            repo_id: "user/name".
            private: False publishes the key; a warning says so.
            **kwargs: see `huggingface_hub.ModelHubMixin.push_to_hub`.

        Returns:
            the URL of the commit.

        Raises:
            NotFittedError: before `fit`.
            SettingError: the repository exists and is public, and private=False was not passed.
        """
        if not private:
            warnings.warn(
                f"{repo_id} will be public: with the protector anyone can subtract the noise from the protected "
                "images. Leave out private=False to keep it to yourself.",
                stacklevel=2,
            )
        public = self.restored(public_settings(self.settings, self.fitted), self.fitted, self._surrogate)
        api = HfApi(token=kwargs.get("token"))
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if private and not api.model_info(repo_id).private:
            raise SettingError(
                f"{repo_id} is public already, and a protector is the removal key: make the repository private in its "
                "settings on the Hub, name another one, or pass private=False to publish the key."
            )
        return super(Shared, public).push_to_hub(repo_id, private=private, **kwargs)


def versions() -> dict[str, str]:
    """Of the libraries that decide the pixels."""
    return {name: version(name) for name in ("uc_hf", "torch", "transformers", "datasets")}


def _table(values: dict[str, Any], heading: str) -> str:
    return markdown.table([{heading: name, "value": value} for name, value in values.items()])
