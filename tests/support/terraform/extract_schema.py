"""Rebuild the schema of the resources that our Terraform uses from the npm package @cdktf/provider-aws.

The provider itself cannot be had without its registry, but its schema is in the generated bindings: the JavaScript
has each attribute's name and type, the declarations say which are optional. Run after a new kind of resource is used:

    npm pack @cdktf/provider-aws@21.22.1
    python tests/support/terraform/extract_schema.py cdktf-provider-aws-21.22.1.tgz
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
MODULE = HERE.parents[2] / "deployments" / "terraform"
SCHEMA = HERE / "aws-6.25.0.json"
PRIMITIVES = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
GETTERS = {
    "String": "string", "Number": "number", "Boolean": "bool", "List": ["list", "string"],
    "StringMap": ["map", "string"], "NumberList": ["list", "number"], "BooleanMap": ["map", "bool"],
}  # fmt: skip
NESTING = {"list": "LIST", "set": "SET", "map": "MAP"}

Sources = tuple[str, str]  # JavaScript, declarations


def main(package: Path) -> None:
    """Write the schema of what the module names."""
    text = "\n".join(path.read_text() for path in sorted(MODULE.glob("*.tf")))
    wanted = {
        kind: sorted(set(re.findall(rf'^\s*{word}\s+"(aws_\w+)"', text, re.MULTILINE)))
        for kind, word in (("resource", "resource"), ("data", "data"))
    }
    folders = {name.removeprefix("aws_").replace("_", "-"): ("resource", name) for name in wanted["resource"]}
    folders |= {"data-" + name.replace("_", "-"): ("data", name) for name in wanted["data"]}
    folders["provider"] = ("provider", "aws")
    found: dict[str, dict[str, object]] = {"resource": {}, "data": {}, "provider": {}}
    sources = read_sources(package, set(folders))
    for folder, (kind, name) in folders.items():
        found[kind][name] = schema_of(sources[folder])
    SCHEMA.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
    print(f"{SCHEMA.name}: {len(found['resource'])} resources, {len(found['data'])} data sources")


def read_sources(package: Path, folders: set[str]) -> dict[str, Sources]:
    """Return the sources of these folders of the package; raises KeyError for one that is not there."""
    files: dict[tuple[str, str], str] = {}
    with tarfile.open(package) as archive:
        for member in archive:
            parts = member.name.split("/")
            wanted = len(parts) == 4 and parts[1] == "lib" and parts[2] in folders
            if wanted and (content := archive.extractfile(member)) is not None:
                files[parts[2], parts[3]] = content.read().decode()
    return {folder: (files[folder, "index.js"], files[folder, "index.d.ts"]) for folder in folders}


def schema_of(sources: Sources) -> dict[str, object]:
    """Return the schema of a resource, a data source or the provider."""
    script, _ = sources
    structs = dict(re.findall(r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", script, re.S | re.M))
    match = re.search(
        r"^class (\w+) extends cdktf\.Terraform(?:Resource|DataSource|Provider) \{(.*)^\}", script, re.S | re.M
    )
    assert match, "the bindings have another form"
    body = match[2]
    return block_of(sources, body[body.index("synthesizeHclAttributes()") :], f"{match[1]}Config", structs, body)


def block_of(
    sources: Sources, written: str, interface: str, structs: dict[str, str], getters: str | None = None
) -> dict[str, object]:
    """Return attributes and nested blocks of one block."""
    optional = optional_properties(sources[1], interface)
    attributes: dict[str, dict[str, object]] = {}
    blocks: dict[str, object] = {}
    for name, value, is_block, kind, storage in settable(written):
        required = optional.get(camel_case(name), True) is False
        if is_block:
            blocks[name] = nested_block(sources, value, kind, required, structs)
        else:
            attributes[name] = {"type": type_of(kind, storage), "required": required}
    add_computed(getters if getters is not None else output_class(sources[0], interface), attributes, set(blocks))
    return {"attributes": attributes, "blocks": blocks}


def nested_block(sources: Sources, value: str, kind: str, required: bool, structs: dict[str, str]) -> dict[str, object]:
    function = re.search(r"(\w+)ToHclTerraform", value.replace("cdktf.listMapperHcl", ""))
    assert function
    interface = function[1][0].upper() + function[1][1:]
    many = "listMapperHcl" in value
    return {
        "nesting": NESTING.get(kind, "SINGLE"),
        "min": int(required),
        "max": 0 if many or kind not in ("list", "set") else 1,
        "block": block_of(sources, structs.get(function[1], ""), interface, structs),
    }


def settable(written: str) -> list[tuple[str, str, bool, str, str]]:
    """Return (name, value, is a block, kind, storage class) of each entry of an attributes object."""
    entry = (
        r'^\s+(\w+|"[^"]+"): \{\s*value: (.*?),\n\s*isBlock: (true|false),'
        r'(?:\s*type: "(\w+)",)?(?:\s*storageClassType: "(\w+)",)?'
    )
    return [
        (match[1].strip('"'), match[2], match[3] == "true", match[4] or "", match[5] or "")
        for match in re.finditer(entry, written, re.S | re.M)
    ]


def add_computed(getters: str, attributes: dict[str, dict[str, object]], blocks: set[str]) -> None:
    """What can be read is computed, alone or when it is not set."""
    read = r"get \w+\(\) \{\s*return (?:cdktf\.Fn\.\w+\()?this\.get(\w+)Attribute\('(\w+)'"
    for kind, name in re.findall(read, getters):
        if name not in blocks:
            only = {"type": GETTERS.get(kind, "dynamic"), "required": False, "computed_only": True}
            attributes.setdefault(name, only).setdefault("computed_only", False)
    for name in re.findall(r"this\._\w+ = new \w+\(this, \"(\w+)\"", getters):
        if name not in blocks and name not in attributes:
            attributes[name] = {"type": "dynamic", "required": False, "computed_only": True}


def output_class(script: str, interface: str) -> str:
    found = re.findall(rf"class {interface}OutputReference extends .*?(?=^class |^exports\.)", script, re.S | re.M)
    return found[0] if found else ""


def optional_properties(declarations: str, interface: str) -> dict[str, bool]:
    pattern = rf"export interface {interface}(?: extends [\w.]+)? \{{(.*?)^\}}"
    match = re.search(pattern, declarations, re.S | re.M)
    return {name: bool(mark) for name, mark in re.findall(r"readonly (\w+)(\??):", match[1])} if match else {}


def type_of(kind: str, storage: str) -> object:
    if kind == "simple":
        return PRIMITIVES.get(storage, "dynamic")
    match = re.fullmatch(r"(string|number|boolean|any)(List|Map)", storage)
    return [kind, PRIMITIVES[match[1]]] if match and kind in ("list", "set", "map") else "dynamic"


def camel_case(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
