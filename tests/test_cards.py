"""What a checkpoint brings along: its model card, and the way to the hub."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from finished import finished, once
from huggingface_hub import ModelCard, metadata_load

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import HubError
from lagsearch.hub.card import OURS, source_card, write_card
from lagsearch.hub.push import plan_upload, upload
from lagsearch.records.folder import RunFolder
from lagsearch.report.pages.card import how_to_install
from lagsearch.space import load_space, read_yaml
from lagsearch.storage.published import values_without_paths

LICENSED = """\
---
license: other
license_name: gemma
license_link: LICENSE
language: [en, de]
tags: [tiny]
base_model: some/other
---
# Tiny
"""

PRETRAINED = """\
  - name: small
    pretrain:
      config: {model_type: llama, num_hidden_layers: 3, hidden_size: 16, intermediate_size: 32,
                num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}
      steps: 20
"""


@pytest.fixture
def licensed(checkpoint):
    folder = checkpoint()
    (folder / "README.md").write_text(LICENSED)
    (folder / "LICENSE").write_text("All may read this.")
    return folder


@pytest.fixture
def source(licensed):
    """The same for all tests, which leave it as it is."""
    return once("licensed", lambda folder: shutil.copytree(licensed, folder / "source")) / "source"


@pytest.fixture
def space(write_space):
    """Write a space that grows a checkpoint."""
    return lambda folder: write_space((PRETRAINED, f"  - {{name: small, checkpoint: {folder}}}\n"))


@pytest.fixture
def run(space, source, tmp_path):
    """A finished run that grew a checkpoint with a licence."""
    return finished(space(source), tmp_path / "run")


def test_the_winner_has_a_card(run, source, corpus):
    path = run.checkpoint / "README.md"
    card = ModelCard.load(path)
    assert card.data.to_dict() == {
        "license": "other",
        "license_name": "gemma",
        "license_link": "LICENSE",
        "language": ["en", "de"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["lagsearch", "model-growth"],
    }
    assert (run.checkpoint / "LICENSE").read_text() == "All may read this."
    best = run.candidates[0]
    assert f"```text\n{best.layer_map}\n```" in card.text
    assert f"{best.parameters:,} parameters" in card.text
    end = max(best.val_loss)
    row = next(line for line in card.text.splitlines() if f"`{best.name}` (winner)" in line)
    assert [each.strip() for each in row.split("|")][-4:-1] == [
        f"{best.val_loss[step]:.4f}" for step in (0, 10, end)
    ]
    assert f"Winner at step 10: {best.name}, validation loss {best.val_loss[10]:.4f}" in card.text
    assert "`source` has a licence of its own: gemma." in card.text
    assert "corpus.txt" in card.text
    for folder in (source.parent, corpus.parent, Path.home()):
        assert str(folder) not in path.read_text()


def test_what_the_card_says_to_run_is_the_winner_alone(run, source, tmp_path, monkeypatch, corpus):
    """In a folder that has the files under their names."""
    text = (run.checkpoint / "README.md").read_text()
    written = re.search(r"```yaml\n(.*?)\n```", text, re.S)[1]
    shutil.copytree(source, tmp_path / "there/source")
    shutil.copy(corpus, tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    Path("schedule.yaml").write_text(written)
    again = lagsearch.run("schedule.yaml", out="again", serial=True, watch=Watch())
    assert again.winner == run.winner
    assert again.candidates[0].val_loss == run.candidates[0].val_loss


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        (
            "abc123",
            "Install lagsearch 0.1.0 by `pip install -e .` in a clone of its repository, at commit "
            "abc123",
        ),
        (None, "Install lagsearch 0.1.0 by `pip install -e .` in a clone of its repository"),
    ],
)
def test_a_card_says_how_lagsearch_is_had(commit, said):
    assert how_to_install("0.1.0", commit) == said


def test_a_card_names_the_commit_and_no_package_index(run):
    commit = RunFolder(run.folder).environment()["git_commit"]
    text = ModelCard.load(run.checkpoint / "README.md").text
    assert "pip install lagsearch" not in text
    assert commit is None or f"in a clone of its repository, at commit {commit}, then:" in text


def test_a_report_writes_its_own_card_again_and_nobody_elses(run, call):
    path = run.checkpoint / "README.md"
    written = path.read_text()
    path.write_text(written.replace("# tiny", "# changed"))
    assert call("report", run.folder)[0] == 0
    assert path.read_text() == written
    path.write_text(written.replace(OURS, "Mine."))
    assert call("report", run.folder)[0] == 0
    assert path.read_text() == written.replace(OURS, "Mine.")


def test_the_licence_stays_where_the_source_is_gone(space, call, licensed, tmp_path):
    run = lagsearch.run(space(licensed), out=tmp_path / "run", serial=True, watch=Watch())
    shutil.rmtree(licensed)
    assert call("report", run.folder)[0] == 0
    assert metadata_load(run.checkpoint / "README.md")["license_name"] == "gemma"


def test_a_run_with_stages_has_a_card(write_stages, tmp_path):
    run = finished(write_stages(), tmp_path / "run")
    card = ModelCard.load(run.checkpoint / "README.md")
    for each in run.report["courses"][0]["stages"]:
        assert f"| `{each['layer_map']}` |" in card.text
        assert f"{each['val_loss']:.4f}" in card.text
    assert "base_model" not in card.data.to_dict() and "license" not in card.data.to_dict()
    (tmp_path / "schedule.yaml").write_text(re.search(r"```yaml\n(.*?)\n```", card.text, re.S)[1])
    made = load_space(tmp_path / "schedule.yaml")
    assert made.has_stages and [len(each.space.candidates) for each in made.stages][1:] == [1, 1]


def test_a_grown_checkpoint_has_a_short_card(grow, licensed, tmp_path):
    asked = (licensed, "--operator", "stack", "--set", "factor=2", "--measure")
    code, _, err = grow(*asked, "--out", tmp_path / "grown")
    assert code == 0, err
    card = ModelCard.load(tmp_path / "grown/README.md")
    assert (card.data.license, card.data.license_link) == ("other", "LICENSE")
    assert card.data.pipeline_tag == "text-generation"
    assert "```text\n0 1 2 0* 1* 2*\n```" in card.text and "NOT preserved" in card.text
    assert "operator `stack`, `factor=2`" in card.text and OURS not in card.text
    assert "# Tiny" not in card.text and str(tmp_path) not in card.text
    code, _, err = grow(*asked[:-1], "--out", tmp_path / "unmeasured")
    assert code == 0, err
    assert "outputs were not compared" in (tmp_path / "unmeasured/README.md").read_text()


def test_names_on_the_hub_are_base_models(tmp_path, monkeypatch):
    """As from a cache of the hub's that has the card."""
    import huggingface_hub

    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    seen = []

    def cached(name, file):
        seen.append((name, file))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.json").write_text('{"architectures": ["BertForMaskedLM"]}')
    assert write_card(tmp_path / "out", "# Words", [source_card("org/bert")])
    assert seen == [("org/bert", "README.md")]
    assert metadata_load(tmp_path / "out/README.md") == {
        "base_model": ["org/bert"],
        "library_name": "transformers",
        "license": "mit",
        "pipeline_tag": "fill-mask",
        "tags": ["lagsearch", "model-growth"],
    }
    assert source_card("org/bert").licence.endswith("is licensed under mit.")


@pytest.mark.parametrize(
    "text", ["---\nlicense: [\n---\n", "---\nlicense: {a: 1}\nlanguage: 3\n---\n", "---\n", "\xff"]
)
def test_a_broken_card_of_a_source_says_nothing(tmp_path, text):
    (tmp_path / "README.md").write_bytes(text.encode("latin-1"))
    assert source_card(str(tmp_path)).metadata == {}
    assert "is not known here" in source_card(str(tmp_path)).licence


def test_a_card_of_another_system_in_norwegian(tmp_path):
    text = "\ufeff---\r\nlanguage: no\r\nlicense: mit\r\n---\r\n# Words\r\n"
    (tmp_path / "README.md").write_bytes(text.encode())
    assert source_card(str(tmp_path)).metadata == {"license": "mit", "language": "no"}


def test_sources_with_different_licences_have_none_in_common(tmp_path):
    for name, licence in (("a", "mit"), ("b", "apache-2.0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
    cards = [source_card(str(tmp_path / name)) for name in "ab"]
    write_card(tmp_path, "# Words", cards)
    assert "license" not in metadata_load(tmp_path / "README.md")


def test_paths_are_names_and_names_stay():
    plain = {
        "files": ["/home/me/a.txt", "./b/c.txt", "~/d"],
        "hub": "org/set",
        "lr": 0.1,
        "corpus": "python-stdlib",
    }
    assert values_without_paths(plain) == {
        "files": ["a.txt", "c.txt", "d"],
        "hub": "org/set",
        "lr": 0.1,
        "corpus": "python-stdlib",
    }


class Hub:
    """What of `HfApi` is used, and what it was asked for."""

    def __init__(self, is_private=False, fails=None):
        self.calls, self.is_private, self.fails = [], is_private, fails

    def create_repo(self, repo, **how):
        self.calls.append(("create_repo", repo, how))
        if self.fails:
            raise self.fails
        return SimpleNamespace(repo_id=f"me/{repo}")

    def repo_info(self, repo):
        return SimpleNamespace(private=self.is_private)

    def create_commit(self, repo, operations, commit_message):
        sent = {each.path_in_repo: Path(each.path_or_fileobj).read_bytes() for each in operations}
        self.calls.append(("create_commit", repo, sent))
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repo}/commit/1")


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    made = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    return made


def test_push_shows_what_it_sends_and_sends_that(run, call, hub):
    whole = {path.name: path.read_bytes() for path in run.checkpoint.iterdir()}
    code, out, err = call("push", run.folder, "--repo", "tiny", "--dry-run")
    assert (code, hub.calls) == (0, []), err
    for name, content in whole.items():
        size = f"{len(content)} B" if len(content) < 1000 else f"{len(content) / 1000:.1f} kB"
        assert f"{size:>9}  {name}\n" in out
    assert (run.checkpoint / "README.md").read_text() in out
    assert f"Would send {len(whole)} files, " in out and "to tiny, public" in out

    code, out, err = call("push", run.folder, "--repo", "tiny")
    assert code == 2 and hub.calls == []
    assert "push: nobody is there to be asked; give --yes" in err

    code, out, err = call("push", run.folder, "--repo", "tiny", "--yes")
    assert code == 0, err
    assert hub.calls == [
        ("create_repo", "tiny", {"private": False, "exist_ok": True}),
        ("create_commit", "me/tiny", whole),
    ]
    assert out.endswith("Sent: https://huggingface.co/me/tiny/commit/1\n")


def test_a_no_sends_nothing(run, call, hub, monkeypatch):
    from lagsearch.cli import push

    asked = []
    monkeypatch.setattr(push, "is_agreed", lambda *words: asked.append(words))
    code, out, _ = call("push", run.folder, "--repo", "tiny", "--private")
    assert code == 0 and hub.calls == [] and out.endswith("Nothing was sent.\n")
    assert asked[0][0].endswith("to tiny, private?")


def test_nothing_private_goes_to_a_public_repository(run):
    asked = plan_upload(run.folder, "tiny", is_private=True)
    hub = Hub(is_private=False)
    with pytest.raises(HubError, match="me/tiny: is there already and is public; nothing was sent"):
        upload(asked, hub)
    assert [each[0] for each in hub.calls] == ["create_repo"]
    assert upload(asked, Hub(is_private=True)).startswith("https://")
    with pytest.raises(HubError, match="--repo tiny: no network"):
        upload(asked, Hub(fails=ConnectionError("no network")))


def test_what_cannot_be_pushed_is_one_line(run, call, hub, tmp_path):
    environment = run.folder / "environment.json"
    whole = environment.read_text()

    def refused(message, *words):
        code, _, err = call("push", *(words or (run.folder, "--repo", "tiny", "--yes")))
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1
        assert hub.calls == []

    environment.write_text(json.dumps(json.loads(whole) | {"end": None}))
    refused("the run is not finished; `lagsearch run` with the same --out goes on")
    environment.write_text(whole)
    refused("not a run folder", tmp_path / "source", "--repo", "tiny", "--yes")
    refused("--repo a/b/c", run.folder, "--repo", "a/b/c", "--yes")
    (run.checkpoint / "secrets").symlink_to("/etc/passwd")
    refused("a link, and what it leads to is not this run's")
    (run.checkpoint / "secrets").unlink()
    (run.checkpoint / "model.safetensors").unlink()
    refused("there is no checkpoint of the winner")


def test_the_card_in_yaml_is_what_it_says(run):
    text = (run.checkpoint / "README.md").read_text()
    written = read_yaml(re.search(r"```yaml\n(.*?)\n```", text, re.S)[1])[0]
    assert written["sources"] == [{"name": "small", "checkpoint": "source"}]
    assert written["data"]["train"]["files"] == ["corpus.txt"]


def test_paths_of_this_machine_are_names_in_a_card():
    from lagsearch.storage.published import sentence_without_paths

    line = "Baseline continue failed: /home/me/runs/x/states/a.safetensors: no space; see 1/2, a/b"
    assert sentence_without_paths(line) == (
        "Baseline continue failed: a.safetensors: no space; see 1/2, a/b"
    )
    assert sentence_without_paths("~/runs/x/space.yaml, https://example.org/a/b") == (
        "space.yaml, https://example.org/a/b"
    )
