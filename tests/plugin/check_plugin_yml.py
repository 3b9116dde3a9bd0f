#!/usr/bin/env python3
"""plugin.yml and the examples in the documents, checked as Buildkite's plugin linter does it:
(a) plugin.yml has the keys it must have, and its configuration is a JSON Schema; (b) every YAML example that uses the plugin
validates against it, and there is one; (c) every example names a version, all the same. Then, beyond the linter: plugin.yml lists
exactly the options that the runner knows, and refuses what is wrong.
"""
import os
import pathlib
import re
import sys

import jsonschema
import yaml

ROOT = pathlib.Path(os.environ.get("CLEANROOM_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
NAME = re.compile(r"(?:^|/)cleanroom(?:-buildkite-plugin)?(?:\.git)?#(.*)$")
MUST_HAVE = {"name": str, "description": str, "author": str, "requirements": list, "configuration": dict}

# Accepted and refused by the schema; the runner's unit tests hold the same pairs.
GOOD = [{}, {"image": "x"}, {"env": "A"}, {"environment": ["A", "B=1"]}, {"output": "x"}, {"outputs": ["a", "b"]}, {"vcpus": 2},
        {"cpus": "2"}, {"memory": 512}, {"memory": "2g"}, {"timeout": "1h30m"}, {"timeout": 90}, {"command": ["make", "test"]},
        {"shell": "/bin/sh -e -c"}, {"shell": ["/bin/sh", "-c"]}, {"debug": True}, {"workdir": "/src"},
        {"propagate-environment": False}, {"keep-on-failure": "true"}, {"policy": "a.yaml"}]
BAD = [{"imgae": "x"}, {"allow-emulation": True}, {"image": 5}, {"image": ""}, {"image": None}, {"environment": {"A": "1"}},
       {"environment": [1]}, {"command": "make"}, {"command": []}, {"vcpus": 0}, {"vcpus": 1.5}, {"memory": "lots"}, {"memory": 1},
       {"timeout": "soon"}, {"workdir": "src"}, {"workdir": "/"}, {"debug": 1}]


def schema_errors(plugin):
    errors = [f"plugin.yml: '{key}' is missing or no {kind.__name__}" for key, kind in MUST_HAVE.items()
              if not isinstance(plugin.get(key), kind)]
    configuration = plugin.get("configuration", {})
    if configuration.get("additionalProperties") is not False:
        errors.append("plugin.yml: configuration.additionalProperties is to be false")
    if "type" in configuration:
        errors.append("plugin.yml: configuration.type refuses a plugin without options, which is null")
    errors += [f"plugin.yml: option '{name}' has no description" for name, option in configuration["properties"].items()
               if not option.get("description")]
    errors += [f"plugin.yml: bad option name '{name}'" for name in configuration["properties"]
               if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)]
    try:
        jsonschema.Draft7Validator.check_schema(configuration)
    except jsonschema.SchemaError as error:
        errors.append(f"plugin.yml: configuration is no schema: {error.message}")
    return errors


def examples(document):
    """(line, plugin source, options) of each use of the plugin in a fenced YAML block."""
    text = document.read_text()
    for block in re.finditer(r"^```ya?ml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, block.start()) + 1
        content = yaml.safe_load(block.group(1))
        for step in (content.get("steps") or []) if isinstance(content, dict) else []:
            for plugin in (step.get("plugins") or []) if isinstance(step, dict) else []:
                for source, options in plugin.items() if isinstance(plugin, dict) else [(plugin, None)]:
                    if re.search(r"(^|/)cleanroom(-buildkite-plugin)?(#|$)", source):
                        yield line, source, options


def example_errors(validator, documents):
    errors, versions = [], set()
    for document in documents:
        for line, source, options in examples(document):
            where = f"{document.relative_to(ROOT)}:{line}"
            version = NAME.search(source)
            if not version or not re.fullmatch(r"v\d+\.\d+\.\d+", version.group(1)):
                errors.append(f"{where}: '{source}' names no full version")
            else:
                versions.add(version.group(1))
            errors += [f"{where}: {error.message}" for error in validator.iter_errors(options)]
    if not versions:
        errors.append("no document has an example of the plugin")
    if len(versions) > 1:
        errors.append(f"the examples name more than one version: {sorted(versions)}")
    return errors


def runner_options():
    """The names in the runner's table of options."""
    text = (ROOT / "src/runner/buildkite_plugin_config.cpp").read_text()
    table = re.search(r"kOptions\[\] = \{(.*?)^\};", text, re.MULTILINE | re.DOTALL).group(1)
    return {name for pair in re.findall(r'\{"([a-z-]+)", "([a-z-]*)"', table) for name in pair if name}


def main():
    plugin = yaml.safe_load((ROOT / "plugin.yml").read_text())
    errors = schema_errors(plugin)
    validator = jsonschema.Draft7Validator(plugin["configuration"])
    documents = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
    errors += example_errors(validator, documents)
    errors += [f"plugin.yml refuses {options}" for options in GOOD if not validator.is_valid(options)]
    errors += [f"plugin.yml accepts {options}" for options in BAD if validator.is_valid(options)]
    known, listed = runner_options(), set(plugin["configuration"]["properties"])
    if known != listed:
        errors.append(f"plugin.yml and the runner differ in {sorted(known ^ listed)}")
    print("\n".join(errors + [f"check_plugin_yml: {len(listed)} options, {len(errors)} findings"]))
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
