"""Look at the files of a Hugging Face model before the library transformers loads them."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tutelage.errors import ArgumentError, ModelError, in_short
from tutelage.references.archives import check_archive
from tutelage.references.reference import Reference

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_TRUST = "trust_remote_code"


class HubFiles:
    """The files of a model: a folder, or a repository of a hub, and how they may be loaded.

    Args:
        reference: Its name is a folder, or `NAME` or `ORG/NAME` of a hub.
        hf: The package transformers.
        needs_config: Whether there must be a config.json, as of models.

    Raises:
        ArgumentError: It is neither.
        ModelError: Its config names code that would be run.
    """

    def __init__(self, reference: Reference, hf: Any, needs_config: bool = True) -> None:
        self.reference, self.hf = reference, hf
        folder = Path(reference.name).expanduser()
        self.is_folder = folder.is_dir()
        self.name = str(folder) if self.is_folder else reference.name
        if not self.is_folder and (not _NAME.fullmatch(self.name) or ".." in self.name):
            raise ArgumentError(
                f"`{reference.argument}` must name a folder, or a repository of a hub as ORG/NAME, "
                f"got {reference.text!r} and no such folder; correct the path"
            )
        self.trusts = reference.flag(_TRUST)
        self.revision = reference.options.get("revision", "main")
        if self.is_folder:
            self._check_folder(folder)
        config = self.read("config.json")
        if config is None and needs_config:
            advice = (
                "save the model by save_pretrained"
                if self.is_folder
                else "check its name, and the network if it was not downloaded before; or name a "
                "folder: hf:FOLDER"
            )
            raise ModelError(
                f"`{reference.argument}` {reference.text!r} must have a config.json, got none; "
                f"{advice}"
            )
        self._check_config({} if config is None else config)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `from_pretrained` that say whence files come, and that none is run."""
        return {
            "trust_remote_code": self.trusts,
            "local_files_only": self.is_folder,
            "revision": self.revision,
        }

    def read(self, name: str) -> dict[str, Any] | list[Any] | None:
        """Return the content of a JSON file; None if there is none.

        Raises:
            ModelError: It cannot be had, or is no JSON.
        """
        with self.reported():
            path = self.hf.utils.cached_file(
                self.name,
                name,
                local_files_only=self.is_folder,
                revision=self.revision,
                _raise_exceptions_for_missing_entries=False,
            )
            return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Raise what transformers raises as an error that names the reference; print nothing."""
        logging = self.hf.logging
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        except (ModelError, ArgumentError):
            raise
        except Exception as error:  # of the network, of damaged files, of several libraries
            advice = "copy its files again" if self.is_folder else "check its name and the network"
            if _TRUST in str(error):
                advice = (
                    "it is made of code in its repository; read that code, and if you trust it, "
                    f"write ?{_TRUST} behind its name"
                )
            raise ModelError(
                f"`{self.reference.argument}` {self.reference.text!r} could not be loaded: "
                f"{in_short(error)}; {advice}"
            ) from error
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()

    def _check_folder(self, folder: Path) -> None:
        """Refuse archives of weights that would expand, and adapters without their model."""
        if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
            raise ModelError(
                f"`{self.reference.argument}` must be a whole model, got an adapter in {folder}; "
                "merge it into its model (merge_and_unload) and save that"
            )
        for path in folder.glob("*.index.json"):
            self._check_index(folder, path)
        for path in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")):
            if zipfile.is_zipfile(path):
                check_archive(path, compressed=False)

    def _check_index(self, folder: Path, path: Path) -> None:
        """Refuse an index of weights that names files outside of its folder."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            files = {str(each) for each in found["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{path} must map weights to files, got {in_short(error)}; save the model again"
            ) from error
        for name in sorted(files):
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise ModelError(
                    f"{path} must name files of its own folder, got {name!r}; do not use it"
                )

    def _check_config(self, config: object) -> None:
        """Refuse a config that names code in a hub, unless the reference trusts it."""
        if not isinstance(config, Mapping):
            raise ModelError(
                f"`{self.reference.argument}` {self.reference.text!r} must have a dict in its "
                f"config.json, got {type(config).__name__}; save it by save_pretrained"
            )
        for key, value in _entries(config):
            code = key == "auto_map" or ("implementation" in key and "/" in str(value))
            if code and not self.trusts:
                raise ModelError(
                    f"`{self.reference.argument}` {self.reference.text!r} names code that would "
                    f"be run, {key} {value!r} in its config.json; read that code, and if you trust "
                    f"it, write ?{_TRUST} behind its name"
                )


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield str(key), value
        if isinstance(value, Mapping):
            yield from _entries(value)
