from __future__ import annotations

import os

import pytest

from visibility.errors import InvalidFile
from visibility.store.tenant_file import validated
from visibility.store.yaml_lines import read_source

INVALID = "tenants.yaml:2: this is not valid YAML: "
ORG = """\
partner:
  name: Beacon Agency
orgs:
  - name: Northwind Heating
"""


@pytest.fixture
def refusal(tmp_path):
    """Read a file that is wrong; return its complaints."""

    def read_wrong(content: str | bytes) -> list[str]:
        path = tmp_path / "tenants.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InvalidFile) as caught:
            validated(read_source(path))
        return [line.replace(f"{tmp_path}{os.sep}", "") for line in caught.value.message.splitlines()]

    return read_wrong


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "tenants.yaml is empty."),
        ("# only a comment\n", "tenants.yaml is empty."),
        ("- a\n- b\n", "tenants.yaml:1: the file must hold a mapping with the keys partner, networks, orgs."),
        ("orgs: []\n", "tenants.yaml:1: partner: this is missing."),
        (b"partner: {name: \xff}\n", "tenants.yaml is not a text file in UTF-8."),
        (
            "partner:\n  name: [\n",
            "tenants.yaml:3: this is not valid YAML: expected the node content, but found '<stream end>'.",
        ),
        (
            "partner:\n  name: Who: me\n",
            INVALID + "mapping values are not allowed here.",
        ),
        ("partner:\n\tname: x\n", INVALID + "found character '\\t' that cannot start any token."),
        ("partner: {name: a}\n---\npartner: {name: b}\n", INVALID + "but found another document."),
        ("partner: {name: a}\npartner: {name: b}\n", "tenants.yaml:2: partner: this key stands here twice."),
        ("partner: &loop\n  name: *loop\n", "tenants.yaml is too large or refers to itself."),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(refusal, content, said):
    assert refusal(content) == [said]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("    modles: [chatgpt]", "orgs[0].modles: this key is not known; did you mean 'models'?"),
        ("    xyzzy: 1", "orgs[0].xyzzy: this key is not known; known are name, id, questions, models,"),
        ("    models: [chatgtp]", "orgs[0].models[0]: 'chatgtp' is no model that can be asked; did you mean"),
        ("    models: [llama]", "orgs[0].models[0]: 'llama' is no model that can be asked; known are"),
        ("    models: [gemini, Gemini]", "orgs[0].models[1]: this stands in the list twice."),
        ("    models: chatgpt", "orgs[0].models: this must be a list, not 'chatgpt'."),
        ("    locations: [XX]", "orgs[0].locations[0].country: 'XX' is not a country code of ISO 3166-1 alpha-2"),
        ("    locations: [{region: Ontario}]", "orgs[0].locations[0].country: this is missing."),
        ("    locations: [{country: CA, town: x}]", "orgs[0].locations[0].town: this key is not known;"),
        ("    locations: [UK, GB]", "orgs[0].locations[1]: this stands in the list twice."),
        ("    questions: ['  ']", "orgs[0].questions[0].text: this must not be blank."),
        ("    questions: [~]", "orgs[0].questions[0]: this must be a mapping."),
        ("    questions: ['Who?', 'who?']", "orgs[0].questions[1]: this stands in the list twice."),
        (f"    questions: [{'x' * 4097}]", "orgs[0].questions[0].text: this has 4097 characters; at most 4096"),
        ("    websites: [not a site]", "orgs[0].websites[0]: 'not a site' is not the address of a website"),
        ("    websites: ['ftp://a.example']", "orgs[0].websites[0]: 'ftp://a.example' is not the address of a website"),
        ("    websites: ['http://[a.example']", "orgs[0].websites[0]: 'http://[a.example' is not the address"),
        ("    websites: [a.example, 'https://A.example/']", "orgs[0].websites[1]: this stands in the list twice."),
        ("    schedule: [someday]", "orgs[0].schedule[0]: 'someday' is not a weekday: monday to sunday, or 0"),
        ("    schedule: [7]", "orgs[0].schedule[0]: '7' is not a weekday"),
        ("    schedule: [mon, 0]", "orgs[0].schedule[1]: this stands in the list twice."),
        ("    balance: lots", "orgs[0].balance: this must be a number, not 'lots'."),
        ("    balance: -1", "orgs[0].balance: -1 is below 0."),
        ("    balance: .nan", "orgs[0].balance: this must be a number"),
        ("    balance: 0.0000001", "orgs[0].balance: this has more than six decimals"),
        ("    balance: 1e12", "orgs[0].balance: this has too many digits"),
        ("    spend_limit: -0.01", "orgs[0].spend_limit: -0.01 is below 0."),
        ("    free_tier: maybe", "orgs[0].free_tier: this must be true or false, not 'maybe'."),
        ("    id: 12", "orgs[0].id: this is not a UUID, not '12'."),
        ("  - name: northwind heating", "orgs[1].name: this stands in the list twice."),
        ("  - name: ''", "orgs[1].name: this must not be blank."),
        ("  - just text", "orgs[1]: this must be a mapping, not 'just text'."),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named_with_file_line_and_field(refusal, line, said):
    complaints = refusal(ORG + line + "\n")
    assert len(complaints) == 1
    assert complaints[0].startswith(f"tenants.yaml:5: {said}")
    assert complaints[0].endswith((".", "?"))
    assert "chatgtp" not in line or complaints[0].endswith("did you mean 'chatgpt'?")


@pytest.mark.parametrize("margin", ["1", "1.5", "-0.1"])
def test_a_margin_out_of_range_names_the_partner(refusal, margin):
    said = refusal(f"partner:\n  name: Beacon Agency\n  pricing:\n    margin_pct: {margin}\n")
    assert said == [
        f"tenants.yaml:4: partner.pricing.margin_pct: the margin of partner 'Beacon Agency' is {margin}; "
        "it is a ratio from 0 up to, but not including, 1."
    ]


def test_all_complaints_come_at_once_in_the_order_of_the_file(refusal):
    said = refusal(ORG + "    balance: -1\n    locations: [XX]\n    modles: []\n")
    assert [line.split(":")[1] for line in said] == ["5", "6", "7"]
