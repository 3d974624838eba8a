"""The folder that a corpus is prepared in."""

import dataclasses
from pathlib import Path
from typing import Any

from keras_s2s.data.config import (
    EARLIER_VALUES,
    PreparationConfig,
    differing_fields,
    fields_in_full,
)
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.index import (
    HELD_OUT_FILES,
    INDEX,
    SAMPLES,
    VOCABULARY_STEMS,
    PreparedIndex,
)
from keras_s2s.data.prepared.spec import ADDED_OPTIONS, PreparationSpec
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import (
    check_output_folder,
    parse_json,
    remove_folder,
    remove_stale_temporaries,
    write_json,
)
from keras_s2s.utils.renaming import with_new_names

WORK = "work"
CONFIGURATION = "configuration.json"


class OutputFolder:
    """The folder that a corpus is prepared in.

    Args:
        path: the folder.
        spec: what is prepared.

    Attributes:
        spec: what is prepared; after `open`, in a folder of an earlier version, with the values
            that this version had for fields that its record lacks.
        work: subfolder of the intermediate files.
        previous_index: content of the index of a corpus prepared earlier, or None.
    """

    def __init__(self, path: Path, spec: PreparationSpec) -> None:
        self.path = path
        self.work = path / WORK
        self.spec = spec
        self.previous_index: dict[str, Any] | None = None

    def open(self, overwrite: bool) -> None:
        """Start in an empty folder, or check that it holds the same corpus, maybe interrupted.

        Raises:
            InputError: it holds something else.
        """
        index, started = self.path / INDEX, self.work / CONFIGURATION
        is_ours = index.is_file() or started.is_file()
        check_output_folder(self.path, "--output", "prepared corpus", is_ours)
        if overwrite and is_ours:
            self._clear()
        elif is_ours:
            if index.is_file():
                self.previous_index = PreparedIndex(self.path).content
                previous = self.previous_index["configuration"]
            else:
                previous = self._read(started)
            fields = with_new_names(PreparationConfig, previous["fields"])
            earlier = {name: value for name, value in EARLIER_VALUES.items() if name not in fields}
            config = dataclasses.replace(self.spec.config, **earlier)
            self.spec = dataclasses.replace(self.spec, config=config)
            self._check_same({**previous, **earlier, **fields})
            remove_stale_temporaries(self.path)
        self._is_new = not is_ours or overwrite
        self.work.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(self.work)
        write_json(started, self.spec.to_json())

    def discard(self) -> None:
        """Remove what a failed preparation has written, unless an earlier one started it."""
        if self._is_new:
            self._clear()

    def is_intact(self) -> bool:
        """Return whether all files match their checksums."""
        try:
            PreparedCorpus(self.path).verify()
        except InputError:
            return False
        return True

    def _read(self, file: Path) -> Any:
        try:
            content = parse_json(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or not isinstance(content["fields"], dict):
                raise ValueError("no fields in it")
            return content
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{file}: is damaged ({error}); pass --overwrite to prepare the corpus again"
            ) from error

    def _check_same(self, previous: dict[str, Any]) -> None:
        names = {field.name for field in dataclasses.fields(PreparationConfig)}
        config = PreparationConfig(**{k: v for k, v in previous.items() if k in names})
        was, now = fields_in_full(config), fields_in_full(self.spec.config)
        changed = {
            name: (was[name], now[name]) for name in differing_fields(config, self.spec.config)
        }
        # What is not given is not recorded.
        requested = {**dict.fromkeys(ADDED_OPTIONS), **self.spec.to_json()}
        changed |= {
            name: (previous.get(name), value)
            for name, value in requested.items()
            if name != "fields" and value != previous.get(name)
        }
        differences = [f"{name} {old} instead of {new}" for name, (old, new) in changed.items()]
        if differences:
            raise InputError(
                f"{self.path}: was prepared with {', '.join(differences)}; give another --output, "
                "or --overwrite to replace it"
            )

    def _clear(self) -> None:
        # The index and the work folder go last: they identify the folder as a prepared corpus.
        vocabularies = [
            f"{stem}{end}"
            for stem in VOCABULARY_STEMS
            for end in (".txt", ".model", "_features.txt")
        ]
        for file in self.path.glob("shard-*.tfrecord"):
            file.unlink()
        for name in (*HELD_OUT_FILES, SAMPLES, *vocabularies):
            (self.path / name).unlink(missing_ok=True)
        (self.path / INDEX).unlink(missing_ok=True)
        if self.work.is_dir():
            remove_folder(self.work)
