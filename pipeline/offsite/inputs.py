"""What training reads, made where it is not there yet: the splits and the template of a family."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.errors import UserError
from pipeline.files import read_json, replacing_directory, write_json
from pipeline.params import Params
from pipeline.programs import SPLITS, Family, make_family
from pipeline.programs.tables import as_split, digest_splits, read_split, write_splits
from pipeline.templates import make_template
from pipeline.training.run import Places


def prepare(params: Params, families: Iterable[str], places: Places) -> None:
    """Bring splits and templates to what the settings say. Files that hold the same already are left as they are."""
    for name in families:
        template, path = make_template(params, name).spec(), places.template(name)
        if not path.exists() or read_json(path) != template:
            write_json(path, template)
        family, directory = make_family(params, name), places.splits(name)
        examples = family.generate()
        if _digest(family, places) != digest_splits(as_split(examples[split]) for split in SPLITS):
            with replacing_directory(directory) as temporary:
                write_splits(temporary, examples)


def _digest(family: Family, places: Places) -> str | None:
    """Digest of the splits that are there; None if one is missing, damaged or of other settings."""
    try:
        return digest_splits(read_split(places.splits(family.name), family, split) for split in SPLITS)
    except UserError:
        return None
