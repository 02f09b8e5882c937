"""The flags of `prepare` and `quickstart`, made from the fields of `tinyjax.data.options.Options`."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from absl import flags

from tinyjax.data.options import Options

_DEFINE: dict[Any, Callable[..., flags.FlagHolder]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    bool: flags.DEFINE_bool,
}


def define(names: Collection[str] = ()) -> Callable[[], Options]:
    """Defines a flag for each option, or for those named; returns what reads them once they are parsed."""
    fields = [field for field in dataclasses.fields(Options) if not names or field.name in names]
    holders = {
        field.name: _DEFINE[field.type](field.name, field.default, field.metadata["help"]) for field in fields
    }
    return lambda: Options(**{name: holder.value for name, holder in holders.items()})
