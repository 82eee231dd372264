"""The training itself on a model of a few thousand weights: it learns, resumes exactly, decays, exports."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from training import checkpoint, curve
from training import train as train_command
from training.checkpoint import Progress
from training.energy import WATTS_PER_CORE, cost_of
from training.export import export, llama_config
from training.model import Minnow, Shape, attend
from training.optimizer import orthogonalise
from training.train import BUNDLED, Files, run
from training.trainer import Recipe, Trainer, rate_ratio

MICRO = Recipe(
    shape=Shape(hidden_size=32, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=32),
    step_conversations=4,
    micro_batch_tokens=256,
    warmup_steps=2,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))


def _trainer(tokenizer: Tokenizer, num_workers: int = 1) -> Trainer:
    return Trainer(MICRO, tokenizer, torch.device("cpu"), num_workers)


def test_resuming_gives_the_same_next_loss(tokenizer: Tokenizer, tmp_path: Path) -> None:
    first = _trainer(tokenizer)
    for _ in range(3):
        first.step()
    checkpoint.save(first.checkpoint(), tmp_path)
    second = _trainer(tokenizer)
    found = checkpoint.find(tmp_path)
    assert found is not None
    second.resume(checkpoint.load(found))
    for _ in range(2):
        assert first.step() == second.step()


def test_the_number_of_workers_does_not_change_the_loss(tokenizer: Tokenizer) -> None:
    alone, together = _trainer(tokenizer), _trainer(tokenizer, num_workers=2)
    assert [alone.step() for _ in range(3)] == [together.step() for _ in range(3)]


def test_the_loss_falls(tokenizer: Tokenizer) -> None:
    trainer = _trainer(tokenizer)
    losses = [trainer.step().loss for _ in range(25)]
    assert losses[-1] < losses[0] - 0.5


def test_attention_learns_to_look_where_it_is_told(tokenizer: Tokenizer) -> None:
    recipe = replace(MICRO, shape=replace(MICRO.shape, num_layers=4))
    trainer = Trainer(recipe, tokenizer, torch.device("cpu"))
    reports = [trainer.step() for _ in range(80)]
    assert sum(report.astray for report in reports[-10:]) < 0.8 * sum(report.astray for report in reports[:10])


def test_rates_rise_stay_and_fall() -> None:
    progress = Progress(1, MICRO.shape)
    assert rate_ratio(progress, 2) == 0.5
    assert rate_ratio(replace(progress, num_steps=900), 2) == 1.0
    falling = replace(progress, num_steps=75, decay_from=50, decay_steps=100)
    assert rate_ratio(falling, 2) == 0.75
    assert rate_ratio(replace(falling, num_steps=150), 2) == 0.0
    assert rate_ratio(replace(falling, decay_start_ratio=0.4), 2) == pytest.approx(0.3)


def test_a_run_writes_checkpoints_and_a_curve_that_can_be_drawn(tokenizer: Tokenizer, tmp_path: Path) -> None:
    trainer = _trainer(tokenizer)
    run(trainer, Files(tmp_path, save_every=1, keep_every=4, curve_every=2), 6)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-000004", "step-000005", "step-000006"]
    points = curve.read_curve([tmp_path])
    assert [point["num_steps"] for point in points] == [2, 4, 6]
    assert curve.draw(points).startswith("<svg")


def test_a_branch_that_decays_keeps_its_plan_when_resumed(tokenizer: Tokenizer) -> None:
    trainer = _trainer(tokenizer)
    trainer.step()
    trainer.decay(10)
    trainer.step()
    trainer.decay(99)
    assert (trainer.progress.decay_from, trainer.progress.decay_steps) == (1, 10)
    assert trainer.last_step == 11


def test_rates_fall_a_second_time_when_the_training_settles(tokenizer: Tokenizer) -> None:
    trainer = _trainer(tokenizer)
    trainer.step()
    trainer.decay(2)
    for _ in range(2):
        trainer.step()
    trainer.settle(4, 0.5)
    assert [trainer.step().rate_ratio for _ in range(4)] == [0.5, 0.375, 0.25, 0.125]
    assert trainer.last_step == trainer.progress.num_steps


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Progress]:
    """Runs the command with the small recipe, and says how far it came."""
    monkeypatch.setattr(train_command, "Recipe", lambda: MICRO)

    def command(folder: str, *options: str) -> Progress:
        out = tmp_path / folder
        train_command.main(["--out", str(out), "--workers", "1", "--save-every", "1", *options])
        found = checkpoint.find(out)
        assert found is not None
        return checkpoint.load(found).progress

    return command


def test_a_fall_of_ones_own_length_is_the_last(train: Callable[..., Progress], tmp_path: Path) -> None:
    assert train("run", "--steps", "1", "--decay-steps", "2").num_steps == 3
    branch = "--start-from", str(tmp_path / "run"), "--steps", "4", "--decay-steps", "2"
    for _ in range(2):
        progress = train("more", *branch)
        assert (progress.num_steps, progress.decay_from) == (6, 4)


def test_a_second_fall_comes_once_when_it_is_asked_for(train: Callable[..., Progress]) -> None:
    for _ in range(2):
        progress = train("run", "--steps", "0", "--decay-steps", "2", "--settle-steps", "3")
        assert (progress.num_steps, progress.decay_start_ratio) == (5, 0.35)


def test_the_recipes_own_schedule_has_its_second_fall(
    train: Callable[..., Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, num_steps in (("PLATEAU_STEPS", 1), ("FALL_STEPS", 2), ("SETTLE_STEPS", 3)):
        monkeypatch.setattr(train_command, name, num_steps)
    assert [train("run").num_steps for _ in range(2)] == [6, 6]


def test_two_falls_that_could_not_be_told_apart_are_refused(train: Callable[..., Progress]) -> None:
    with pytest.raises(SystemExit):
        train("run", "--decay-steps", "2", "--settle-steps", "2", "--settle-start-ratio", "1")


def test_a_branch_starts_at_full_rates(tokenizer: Tokenizer) -> None:
    finished = _trainer(tokenizer)
    finished.step()
    finished.decay(1)
    finished.step()
    branched = _trainer(tokenizer)
    branched.branch(finished.checkpoint())
    assert branched.progress.num_steps == 2
    assert branched.step().rate_ratio == 1.0


def test_the_cost_is_modelled_from_processor_time() -> None:
    cost = cost_of(Progress(1, MICRO.shape, cpu_seconds=900.0, wall_seconds=500.0))
    assert cost.energy_joules == 900.0 * WATTS_PER_CORE
    assert cost.energy_watt_hours == 0.25 * WATTS_PER_CORE


def test_short_and_long_attention_agree() -> None:
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(1, 4, 400, 16, generator=generator)
    k, v = torch.randn(2, 1, 2, 400, 16, generator=generator)
    long = attend(q, k, v)
    short = attend(q[:, :, :100], k[:, :, :100], v[:, :, :100])
    torch.testing.assert_close(short, long[:, :, :100], atol=1e-5, rtol=1e-5)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    for rows, columns in ((24, 24), (40, 16), (16, 40)):
        matrices = torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(2))
        values = torch.linalg.svdvals(orthogonalise(matrices))
        assert values.min() > 0.3
        assert values.max() < 1.5


def test_an_export_is_what_transformers_computes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = Minnow(MICRO.shape)
    model.initialise(torch.Generator().manual_seed(3))
    model.to(torch.bfloat16)
    export(tmp_path, dict(model.state_dict()), MICRO.shape, tokenizer)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.arange(20).reshape(2, 10) * 7
    with torch.inference_mode():
        own = model.float()(ids) @ model.embed_tokens.weight.T
        torch.testing.assert_close(loaded(ids).logits, own, atol=1e-4, rtol=1e-4)


def test_the_bundled_model_is_complete_and_small() -> None:
    with safe_open(BUNDLED / "model.safetensors", "pt") as file:
        names = set(file.keys())
        sizes = [file.get_slice(name).get_shape() for name in names]
        assert {str(file.get_tensor(name).dtype) for name in names} == {"torch.bfloat16"}
    assert (BUNDLED / "model.safetensors").stat().st_size <= 20_000_000
    assert sum(torch.Size(size).numel() for size in sizes) <= 10_000_000
    config = json.loads((BUNDLED / "config.json").read_text())
    assert config == llama_config(Shape(), Tokenizer.from_file(str(BUNDLED / "tokenizer.json")))
    assert config["max_position_embeddings"] >= 2048
    assert len(names) == 2 + 9 * config["num_hidden_layers"]


def test_the_bundled_template_is_the_recipes() -> None:
    template = Path(checkpoint.__file__).parent / "chat_template.jinja"
    assert (BUNDLED / "chat_template.jinja").read_text() == template.read_text()
