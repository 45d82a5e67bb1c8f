"""Texts that were UTF-8 and read in another coding are repaired; a text that is right is never altered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.legacy.repair import repaired

# letters that both codings have, some that only UTF-8 has
LETTERS = [
    letter
    for letter in map(chr, (*range(0x41, 0x100), *map(ord, "ŠšŽžŒœŸčłőğ")))
    if letter.isalpha() and letter not in "ªº"
]
SMALL = st.text([letter for letter in LETTERS if letter.islower()], min_size=2, max_size=6)
CAPITAL = st.sampled_from([letter for letter in LETTERS if letter.isupper()])
# no word of any language ends in a capital Â; it is what other codings make of the first byte of ® and »
SHOUTED = st.text([letter for letter in LETTERS if letter.isupper() and letter != "Â"], min_size=2, max_size=6)
WORD = st.one_of(st.tuples(CAPITAL, SMALL).map("".join), SMALL)
SETTINGS = ("{}", "{}’s", "L’{}", "“{}”", "‘{}’", "«{}»", "{}®", "{}™", "{}…", "{} – 24", "— {}", "{} (€ 5)", "{} 😀")


def set_in_type(words):
    """Put words into a text as a typographer would."""
    return st.lists(st.tuples(st.sampled_from(SETTINGS), words), min_size=1, max_size=4).map(
        lambda parts: " ".join(setting.format(word) for setting, word in parts)
    )


def read_as_windows(text: str) -> str:
    return "".join(
        chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([byte]).decode("cp1252")
        for byte in text.encode()
    )


def read_as_macintosh(text: str) -> str:
    return text.encode().decode("mac_roman")


@given(text=set_in_type(st.one_of(WORD, SHOUTED)))
def test_no_correct_text_in_latin_letters_is_altered(text):
    assert repaired(text) == text


@given(text=set_in_type(WORD))
def test_a_text_that_was_read_in_another_coding_is_repaired(text):
    assert repaired(read_as_windows(text)) == text
    assert repaired(read_as_macintosh(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "Banque de l’État", "L’école du chauffage", "d’île", "NESTLÉ®", "CAFÉ™", "CAFÉ’S GRILL", "IRMÃ’S", "MODÅ™",
        "Entreprise d’électricien à Laval", "“Über” repairs", "Qui répare l’évier ?", "Café", "Ünlü Ã", "東京", "plain",
    ],
)  # fmt: skip
def test_a_correct_name_stays_as_it_is(text):
    assert repaired(text) == text


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        ("CafÃ©", "Café"),
        ("Caf√©", "Café"),
        ("â€œQuotedâ€\x9d", "“Quoted”"),
        ("PEÃ‘A", "PEÑA"),
        ("KÃ–LN", "KÖLN"),
        ("KLEENEXÂ®", "KLEENEX®"),
        ("GÃ®te d’étape", "GÃ®te d’étape"),  # half of it is right: nobody can tell
    ],
)
def test_a_name_that_was_read_in_another_coding_is_repaired(stored, meant):
    assert repaired(stored) == meant
