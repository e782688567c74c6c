"""Which columns of a table are no features: the condition, the names of the rows, and those that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from isthmus.errors import InputError


@dataclass(frozen=True)
class ColumnRoles:
    """Which columns of a table play which part; all others are features.

    Args:
        condition: the column of the labels.
        id: the column that names the rows.
        weight: the column of how much each row counts.
        drop: columns to leave out.
        use: the columns that are features; empty for all that have no other role.
        remembered: columns whose roles are those of a run, while other data are read: what its model does not need may
            be missing there.
        of_model: whether the table is read for a trained model, which knows its columns.
        weighted: whether weights are needed; otherwise their column is left aside, whatever it holds.
    """

    condition: str | None = None
    id: str | None = None
    drop: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    remembered: frozenset[str] = frozenset()
    of_model: bool = False
    weight: str | None = None
    weighted: bool = True

    @classmethod
    def of_run(cls, source: Mapping[str, Any] | None) -> ColumnRoles:
        """The roles in what the configuration of a run says of its source."""
        known = source or {}
        drop, use = (tuple(known.get(name) or ()) for name in ("drop", "use"))
        return cls(known.get("condition"), known.get("id"), drop, use, weight=known.get("weight"))

    def beside(self, run: ColumnRoles) -> ColumnRoles:
        """These roles, and those of a run where these have none; what the run left out is left out too."""
        condition = run.condition if self.condition is None else self.condition
        name = run.id if self.id is None else self.id
        weight = run.weight if self.weight is None else self.weight
        other = {condition, name, weight, *self.drop, *self.use}
        drop = (*self.drop, *(column for column in run.drop if column not in other))
        use = self.use or tuple(column for column in run.use if column not in other)
        remembered = frozenset(run.named) - frozenset(self.named)
        return ColumnRoles(condition, name, drop, use, remembered, of_model=True, weight=weight, weighted=self.weighted)

    def without_condition(self) -> ColumnRoles:
        """The same roles, with the column of the labels left out instead."""
        left = () if self.condition is None else (self.condition,)
        return replace(self, condition=None, drop=self.drop + left)

    def to_config(self) -> dict[str, Any]:
        """Plain values for JSON, which `of_run` reads."""
        lists = {"drop": list(self.drop), "use": list(self.use)}
        return {"condition": self.condition, "id": self.id, "weight": self.weight, **lists}

    @property
    def no_features(self) -> tuple[str | None, ...]:
        """The columns that are read but are no features; None for a role that no column has."""
        return self.condition, self.id, self.weight

    @property
    def named(self) -> dict[str, str]:
        """The option that gives each column its role.

        Raises:
            InputError: for a column that is named twice.
        """
        roles = [("--condition", self.condition), ("--id", self.id), ("--weight", self.weight)]
        roles += [("--drop", name) for name in self.drop] + [("--use", name) for name in self.use]
        named: dict[str, str] = {}
        for option, name in roles:
            if name is not None:
                if name in named:
                    raise InputError(f"a column must be named once, got {name!r} in {named[name]} and in {option}.")
                named[name] = option
        return named

    def options(self) -> list[str]:
        """These roles as arguments of the command line."""
        argv: list[str] = []
        last = ""
        for name, option in self.named.items():
            argv += [name] if option == last else [option, name]
            last = option
        return argv

    def reads(self, name: str) -> bool:
        """Whether a column has to be read at all."""
        if name in self.drop or (name == self.weight and not self.weighted):
            return False
        return not self.use or name in (*self.use, *self.no_features)


NO_ROLES = ColumnRoles()
"""All columns are features."""
