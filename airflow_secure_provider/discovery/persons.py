"""Names of persons among the values of a column, by words that are frequent in names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .words import COMPANY, words_of

# What is not in it rather than \pL, which is a hundred ranges that RE2 would repeat.
_SHAPE = r"^[^\x00-\x1f!-&(-+/-@\[-_{-~]+$"
_MOST_SPACES = 5
_LETTERS = {"ø": "o", "ł": "l", "ı": "i", "đ": "d", "ß": "ss", "æ": "ae"}  # which no accent was put on
_TITLES = r"(?i)^(?:mr|mrs|ms|miss|dr|prof|herr|frau|mme|m|mlle|sr|sra|srta|sig|sig\.ra|dhr|mevr|pan|pani|ing|dipl|univ)\.? +"


@dataclass
class Persons:
    """
    :ivar shaped: values that are words of letters.
    :ivar known: of these, those with a word that is frequent in names, which are no companies.
    :ivar companies: those with a word of companies.
    """

    shaped: int = 0
    known: int = 0
    companies: int = 0

    def look(self, values: Any) -> None:
        """:param values: text without nulls, trimmed."""
        shaped = values.filter(pc.match_substring_regex(values, _SHAPE))
        shaped = shaped.filter(pc.less_equal(pc.count_substring(shaped, " "), _MOST_SPACES))
        self.shaped += len(shaped)
        if not len(shaped):
            return
        plain = pc.replace_substring_regex(pc.utf8_normalize(shaped, "NFKD"), r"\pM", "")
        plain = pc.utf8_lower(pc.replace_substring_regex(plain, _TITLES, ""))
        for letter, written in _LETTERS.items():
            plain = pc.replace_substring(plain, letter, written)
        words = pc.split_pattern_regex(plain, r"[ ,.\-]+")
        each, of = pc.list_flatten(words), pc.list_parent_indices(words).to_numpy()
        company = _any(each, of, _COMPANY, len(plain))
        known = _any(each, of, _NAMES, len(plain))
        self.companies += int(company.sum())
        self.known += int((known & ~company).sum())


def _any(words: Any, of: Any, wanted: Any, count: int) -> Any:
    hits = pc.is_in(words, wanted).to_numpy(zero_copy_only=False)
    return np.bincount(of[hits], minlength=count) > 0


_NAMES = pa.array(sorted(words_of("given_names") | words_of("family_names")))
_COMPANY = pa.array(sorted(COMPANY))
