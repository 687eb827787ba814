"""The page of configuration keys: type, range, default and meaning of each, from the models that validate them."""

import ast
import json
from collections.abc import Iterator
from typing import Any

from codes import ROOT, escaped

from triher.settings import Config

SETTINGS = ROOT / "triher" / "settings.py"
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "pattern": "as"}

_HEAD = """\
# Configuration keys

<!-- Written anew at each build from triher/settings.py: change it there. -->

A configuration is YAML 1.2; each section below is a level of it: `extract.region.kind` is written as

```yaml
extract:
  region: {kind: ring}
```

or given on the command line as `--set extract.region.kind=ring`. A key that is not known, or a value out of
range, stops the run. Only `cohort.table` has to be there.
"""


def meanings() -> dict[str, dict[str, str]]:
    """Model -> key -> what stands below it in the source; under the empty key, what stands below the model's name."""
    found: dict[str, dict[str, str]] = {}
    for model in ast.parse(SETTINGS.read_text(encoding="utf-8")).body:
        if isinstance(model, ast.ClassDef):
            found[model.name] = {"": ast.get_docstring(model) or ""}
            for node, after in zip(model.body, model.body[1:], strict=False):
                match node, after:
                    case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[model.name][key] = " ".join(text.split())
    return found


def page() -> str:
    """The page as Markdown."""
    schema = Config.model_json_schema()
    top = {"title": "Config", "properties": schema["properties"]}
    return _HEAD + "".join(_sections("", top, schema["$defs"], meanings()))


def _sections(path: str, model: dict[str, Any], models: dict[str, Any], texts: dict[str, Any]) -> Iterator[str]:
    """A section with its table of keys, and the sections in it behind it."""
    said = texts[model["title"]]
    yield f"\n## {path or 'The top level'}\n\n{said['']}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
    inner = []
    for key, value in model["properties"].items():
        name = f"{path}.{key}".lstrip(".")
        refers = _model_of(value)
        if refers:
            inner.append((name, models[refers]))
        default = "" if refers or "default" not in value else f"`{_literal(value['default'])}`"
        kind = f"[section](#{_anchor(name)})" if refers else escaped(_kind(value))
        yield f"| `{key}` | {kind} | {default} | {said.get(key, '').replace('|', chr(92) + '|')} |\n"
    for name, section in inner:
        yield from _sections(name, section, models, texts)


def _anchor(name: str) -> str:
    """The anchor of a heading."""
    return name.replace(".", "")


def _literal(value: object) -> str:
    """A default as YAML."""
    return json.dumps(value, ensure_ascii=False).strip('"') or "''"


def _model_of(value: dict[str, Any]) -> str:
    """The model of a section; empty for a plain key."""
    options = [value, *value.get("anyOf", ()), value.get("items", {})]
    return next((one["$ref"].rpartition("/")[2] for one in options if "$ref" in one), "")


def _kind(value: dict[str, Any]) -> str:
    """The type of a key with its range, in words."""
    if "anyOf" in value:
        return " or ".join(map(_kind, value["anyOf"]))
    if "enum" in value or "const" in value:
        return "one of " + ", ".join(_literal(one) for one in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        return f"list of {_kind(value.get('items', {}))}"
    if value.get("type") == "object":
        inner = value.get("additionalProperties") or next(iter(value.get("patternProperties", {"": {}}).values()))
        return f"mapping of names to {_kind(inner) if isinstance(inner, dict) else 'values'}"
    bounds = " and ".join(f"{sign} {value[key]}" for key, sign in _BOUNDS.items() if key in value)
    kind = "path" if value.get("format") == "path" else _TYPES.get(value.get("type", ""), "any value")
    return f"{kind} {bounds}".strip()
