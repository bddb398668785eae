"""What transformers 4.34.0's own tests ask of each of its models and configurations, asked of ours.

Where another file asks the same more sharply, it is not repeated: names, signatures and outputs in `test_spec.py`,
values and gradients in `test_parity.py`, checkpoints of other shapes and names in `test_pretrained.py`, embeddings and
sizes in `test_interface.py`, head masks and pruning in `test_pruning.py`. Of their checks these do not apply: tokens'
embeddings, tied weights and `inputs_embeds` (there are none); TorchScript and `torch.fx` (theirs are not checked
either; `torch.export` and `torch.compile` replace both).
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from videomae.models.config import VideoMAEConfig
from videomae.models.modeling import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae.models.outputs import ModelOutput

MODELS = (VideoMAEModel, VideoMAEForPreTraining, VideoMAEForVideoClassification)
# Five layers of four heads over 25 tokens, of which pre-training hides 22; dropout, which a forgotten mode would show.
BATCH, TOKENS, HIDDEN, DEPTH, HEADS, WIDTH = 3, 25, 22, 5, 4, 32
SMALL: dict[str, Any] = {
    "image_size": 10,
    "patch_size": 2,
    "num_frames": 2,
    "tubelet_size": 2,
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 37,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 29,
}


def small(model_class: Any, **changes: Any) -> Any:
    torch.manual_seed(0)
    return model_class(VideoMAEConfig(**{**SMALL, **changes})).eval()


def inputs_of(model_class: Any, *, with_labels: bool = False) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "pixel_values": torch.rand(BATCH, 2, 3, 10, 10, generator=torch.Generator().manual_seed(1))
    }
    if model_class is VideoMAEForPreTraining:
        inputs["bool_masked_pos"] = (torch.arange(TOKENS) < HIDDEN).expand(BATCH, -1)
    elif model_class is VideoMAEForVideoClassification and with_labels:
        inputs["labels"] = torch.zeros(BATCH, dtype=torch.long)
    return inputs


def tokens_of(model_class: Any) -> int:
    """How many the encoder sees."""
    return TOKENS - HIDDEN if model_class is VideoMAEForPreTraining else TOKENS


def assert_equal(left: Any, right: Any) -> None:
    """Of any nesting."""
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    else:
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_equal(a, b)


@pytest.mark.parametrize("model_class", MODELS)
class TestForward:
    def test_shapes(self, model_class: Any) -> None:
        output = small(model_class)(**inputs_of(model_class))

        if model_class is VideoMAEModel:
            assert output.last_hidden_state.shape == (BATCH, TOKENS, WIDTH)
        elif model_class is VideoMAEForPreTraining:
            assert output.logits.shape == (BATCH, HIDDEN, 2 * 2 * 2 * 3)
        else:
            assert output.logits.shape == (BATCH, 2)

    def test_the_main_input_comes_first(self, model_class: Any) -> None:
        assert next(iter(inspect.signature(small(model_class).forward).parameters)) == model_class.main_input_name

    def test_evaluation_repeats_itself_and_training_does_not(self, model_class: Any) -> None:
        model, inputs = small(model_class), inputs_of(model_class)

        assert_equal(model(**inputs).to_tuple(), model(**inputs).to_tuple())
        assert not torch.equal(model.train()(**inputs)[0], model(**inputs)[0])

    @pytest.mark.parametrize("where", ["argument", "configuration"])
    def test_hidden_states_and_attentions(self, where: str, model_class: Any) -> None:
        wanted = {"output_hidden_states": True, "output_attentions": True}
        model = small(model_class, **(wanted if where == "configuration" else {}))

        output = model(**inputs_of(model_class), **(wanted if where == "argument" else {}))

        num_tokens = tokens_of(model_class)
        assert [tuple(state.shape) for state in output.hidden_states] == [(BATCH, num_tokens, WIDTH)] * (DEPTH + 1)
        assert [tuple(a.shape) for a in output.attentions] == [(BATCH, HEADS, num_tokens, num_tokens)] * DEPTH
        assert list(output)[-2:] == ["hidden_states", "attentions"]
        for weights in output.attentions:
            assert torch.allclose(weights.sum(-1), torch.ones(BATCH, HEADS, num_tokens), atol=1e-5)

    @pytest.mark.parametrize("with_labels", [False, True])
    @pytest.mark.parametrize("more", [{}, {"output_hidden_states": True}, {"output_attentions": True}])
    def test_tuples_hold_what_outputs_hold(self, more: dict[str, bool], with_labels: bool, model_class: Any) -> None:
        model, inputs = small(model_class), inputs_of(model_class, with_labels=with_labels)

        output, values = model(**inputs, **more), model(**inputs, **more, return_dict=False)

        assert isinstance(output, ModelOutput)
        assert_equal(values, output.to_tuple())

    def test_what_is_returned_has_gradients(self, model_class: Any) -> None:
        output = small(model_class)(**inputs_of(model_class), output_hidden_states=True, output_attentions=True)
        output.hidden_states[0].retain_grad()
        output.attentions[0].retain_grad()

        output[0].flatten()[0].backward()

        assert output.hidden_states[0].grad.abs().max() > 0
        assert output.attentions[0].grad.abs().max() > 0

    def test_chunks_of_the_feed_forward_change_nothing(self, model_class: Any) -> None:
        """They are an option of text models, which 4.34.0 accepts of any."""
        inputs = inputs_of(model_class)

        assert_equal(
            small(model_class, chunk_size_feed_forward=1)(**inputs).to_tuple(), small(model_class)(**inputs).to_tuple()
        )

    def test_each_clip_alone(self, model_class: Any) -> None:
        model, inputs = small(model_class), inputs_of(model_class)
        field = "last_hidden_state" if model_class is VideoMAEModel else "logits"

        alone = [model(**{name: value[i : i + 1] for name, value in inputs.items()})[field] for i in range(BATCH)]

        assert torch.allclose(torch.cat(alone), model(**inputs)[field], atol=1e-5)


@pytest.mark.parametrize("model_class", [VideoMAEModel, VideoMAEForVideoClassification])
def test_export(model_class: Any) -> None:
    """Not of pre-training: how many tokens a mask hides is known only when it is there."""
    model, inputs = small(model_class), inputs_of(model_class)

    exported = torch.export.export(model, (), inputs).module()(**inputs)

    assert torch.allclose(exported[0], model(**inputs)[0], atol=1e-5)


@pytest.mark.parametrize("model_class", MODELS)
class TestWeights:
    def test_new_weights_follow_the_range(self, model_class: Any) -> None:
        """Each mean is 0 or 1 where nothing is drawn, so that no tensor is left as it was allocated.

        Theirs changes whatever a configuration has by such names.
        """
        config = VideoMAEConfig(**SMALL)
        ranges = [name for name in vars(config) if "_range" in name or "_std" in name]
        for name in ranges:
            setattr(config, name, 1e-10)
        model = model_class(config)

        assert ranges == ["initializer_range"]
        assert {round(parameter.mean().item() * 1e9) / 1e9 for parameter in model.parameters()} <= {0.0, 1.0}

    def test_save_and_load(self, model_class: Any, tmp_path: Path) -> None:
        model, inputs = small(model_class), inputs_of(model_class)
        model.save_pretrained(tmp_path)

        loaded = model_class.from_pretrained(tmp_path)
        loaded.save_pretrained(tmp_path / "again")

        assert_equal(loaded(**inputs).to_tuple(), model(**inputs).to_tuple())
        assert (tmp_path / "again/config.json").read_text() == (tmp_path / "config.json").read_text()
        assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()

    def test_torch_save_and_load(self, model_class: Any, tmp_path: Path) -> None:
        model, inputs = small(model_class), inputs_of(model_class)
        torch.save(model.state_dict(), tmp_path / "weights.bin")

        other = small(model_class, initializer_range=0.5)
        other.load_state_dict(torch.load(tmp_path / "weights.bin", weights_only=True))

        assert_equal(other(**inputs).to_tuple(), model(**inputs).to_tuple())

    @pytest.mark.parametrize("is_safe", [True, False])
    @pytest.mark.parametrize("size", ["20KB", 50_000, "10GB"])
    def test_shards(self, size: str | int, is_safe: bool, model_class: Any, tmp_path: Path) -> None:
        model, inputs = small(model_class), inputs_of(model_class)
        model.save_pretrained(tmp_path, max_shard_size=size, safe_serialization=is_safe)

        loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)

        suffix = "safetensors" if is_safe else "bin"
        num_files = len(list(tmp_path.glob(f"*.{suffix}")))
        assert num_files == 1 if size == "10GB" else num_files > 2
        assert (tmp_path / ("model" if is_safe else "pytorch_model")).with_suffix(f".{suffix}.index.json").exists() == (
            num_files > 1
        )
        assert not any(info.values())
        assert_equal(loaded(**inputs).to_tuple(), model(**inputs).to_tuple())

    def test_missing_weights_are_those_that_the_file_lacks(self, model_class: Any, tmp_path: Path) -> None:
        small(VideoMAEModel).save_pretrained(tmp_path)

        _, info = model_class.from_pretrained(tmp_path, output_loading_info=True)

        names = list(small(model_class).state_dict())
        encoder = "videomae."
        assert info["missing_keys"] == (
            [] if model_class is VideoMAEModel else [name for name in names if not name.startswith(encoder)]
        )
        assert info["unexpected_keys"] == []

    def test_missing_weights_are_drawn_by_the_class(self, model_class: Any, tmp_path: Path) -> None:
        """A class that derives from ours says how, in `_init_weights`, and only for what the file lacks."""

        class Threes(model_class):
            def _init_weights(self, module: nn.Module) -> None:
                for parameter in module.parameters(recurse=False):
                    nn.init.constant_(parameter, 3.0)

        model = small(model_class)
        state = {name: tensor for i, (name, tensor) in enumerate(model.state_dict().items()) if i % 3}
        model.save_pretrained(tmp_path, state_dict=state)

        loaded, info = Threes.from_pretrained(tmp_path, output_loading_info=True)

        assert set(info["missing_keys"]) == set(model.state_dict()) - set(state)
        for name, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, state[name]) if name in state else bool((tensor == 3).all()), name

    def test_missing_weights_that_the_class_forgets_are_zero(self, model_class: Any, tmp_path: Path) -> None:
        class Forgetful(model_class):
            def _init_weights(self, module: nn.Module) -> None:
                pass

        model = small(model_class)
        state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("q_bias")}
        model.save_pretrained(tmp_path, state_dict=state)

        loaded = Forgetful.from_pretrained(tmp_path)

        assert all(bool((tensor == 0).all()) for name, tensor in loaded.state_dict().items() if name.endswith("q_bias"))

    def test_no_file_is_needed(self, model_class: Any) -> None:
        model, inputs = small(model_class), inputs_of(model_class)

        loaded = model_class.from_pretrained(None, config=model.config, state_dict=model.state_dict())

        assert_equal(loaded(**inputs).to_tuple(), model(**inputs).to_tuple())

    def test_on_the_meta_device(self, model_class: Any) -> None:
        with torch.device("meta"):
            model = model_class(VideoMAEConfig(**SMALL))

        assert all(parameter.is_meta for parameter in model.parameters())

    def test_the_model_of_these_tests_is_small(self, model_class: Any) -> None:
        assert small(model_class).num_parameters() < 1_000_000


@pytest.mark.parametrize("model_class", [VideoMAEForPreTraining, VideoMAEForVideoClassification])
class TestTraining:
    @pytest.mark.parametrize("options", [None, {}, {"use_reentrant": True}, {"use_reentrant": False}])
    def test_gradients(self, options: dict[str, bool] | None, model_class: Any) -> None:
        """All weights have some, with gradient checkpointing too, reentrant or not."""
        model = small(model_class, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
        inputs = inputs_of(model_class, with_labels=True)
        model(**inputs).loss.backward()
        plain = {name: parameter.grad for name, parameter in model.named_parameters()}
        model.zero_grad()
        if options is not None:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
            model.enable_input_require_grads()

        model(**inputs).loss.backward()

        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.allclose(parameter.grad, plain[name], atol=1e-6), name

    def test_checkpointing_is_enabled_and_disabled(self, model_class: Any) -> None:
        model = small(model_class)

        assert not model.is_gradient_checkpointing
        model.gradient_checkpointing_enable()
        assert model.is_gradient_checkpointing
        stacks = [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]
        assert len(stacks) == (2 if model_class is VideoMAEForPreTraining else 1)
        assert all(stack.gradient_checkpointing for stack in stacks)
        model.gradient_checkpointing_disable()
        assert not model.is_gradient_checkpointing
        assert not any(stack.gradient_checkpointing for stack in stacks)

    def test_checkpointing_in_a_configuration(self, model_class: Any) -> None:
        """As files of years ago ask for it."""
        model = small(model_class, gradient_checkpointing=True)

        assert model.is_gradient_checkpointing
        assert "gradient_checkpointing" not in model.config.to_json_string()

    def test_a_step_of_training(self, model_class: Any) -> None:
        model = small(model_class, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
        inputs = inputs_of(model_class, with_labels=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

        losses = []
        for _ in range(4):
            loss = model(**inputs).loss
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "labels"),
    [
        ("multi_label_classification", 2, torch.ones(BATCH, 2)),
        ("single_label_classification", 1, torch.zeros(BATCH, dtype=torch.long)),
        ("regression", 1, torch.ones(BATCH)),
    ],
)
def test_problem_types(problem_type: str, num_labels: int, labels: torch.Tensor) -> None:
    """Each has its loss; that nothing is broadcast by accident, the suite's warnings would say."""
    model = small(VideoMAEForVideoClassification, problem_type=problem_type, num_labels=num_labels).train()

    loss = model(**inputs_of(VideoMAEForVideoClassification), labels=labels).loss

    assert loss.shape == ()
    loss.backward()
    assert model.config.problem_type == problem_type


# Keys that a configuration of transformers 4.34.0 has for any model, with values that none has by itself.
_FLAGS = [
    "output_hidden_states",
    "output_attentions",
    "torchscript",
    "use_bfloat16",
    "tf_legacy_loss",
    "do_sample",
    "is_encoder_decoder",
    "is_decoder",
    "add_cross_attention",
    "tie_encoder_decoder",
    "output_scores",
]
_NUMBERS = [
    "cross_attention_hidden_size",
    "max_length",
    "min_length",
    "num_beams",
    "top_k",
    "chunk_size_feed_forward",
    "bos_token_id",
    "pad_token_id",
    "eos_token_id",
    "sep_token_id",
    "decoder_start_token_id",
]
COMMON: dict[str, Any] = {
    **dict.fromkeys(_FLAGS, True),
    **{name: 31 + index for index, name in enumerate(_NUMBERS)},
    "return_dict": False,
    "tie_word_embeddings": False,
    "pruned_heads": {"no layer": "all"},  # no model takes it, a configuration does
    "bad_words_ids": [4, 5],
    "exponential_decay_length_penalty": (3, 1.5),
    "architectures": ["SomeModel"],
    "finetuning_task": "some task",
    "id2label": {0: "juggling"},
    "label2id": {"juggling": 0},
    "tokenizer_class": "SomeTokenizer",
    "prefix": "some text",
    "task_specific_params": {"some task": {"max_length": 7}},
    "problem_type": "regression",
}


class TestConfiguration:
    @pytest.mark.parametrize("name", COMMON)
    def test_common_keys_are_kept(self, name: str) -> None:
        config = VideoMAEConfig(**COMMON)

        assert getattr(config, name) == COMMON[name]
        assert getattr(VideoMAEConfig.from_dict(config.to_dict()), name) == COMMON[name]
        assert getattr(VideoMAEConfig(), name, None) != COMMON[name]

    def test_the_type_of_the_weights(self) -> None:
        assert VideoMAEConfig().torch_dtype is None
        for key, value in (("torch_dtype", "float16"), ("dtype", "float16"), ("torch_dtype", torch.float16)):
            config = VideoMAEConfig(**{key: value})
            assert config.torch_dtype == config.dtype == torch.float16
            assert "dtype" not in config.to_json_string()
            assert config == VideoMAEConfig()

    @pytest.mark.parametrize("name", ["hidden_size", "num_attention_heads", "num_hidden_layers"])
    def test_common_values_are_read_and_set(self, name: str) -> None:
        config = VideoMAEConfig()

        for value in (1, 2):
            setattr(config, name, value)
            assert getattr(config, name) == config.to_dict()[name] == value
            assert getattr(VideoMAEConfig(**{name: value}), name) == value

    def test_text(self) -> None:
        config = VideoMAEConfig(hidden_size=37)

        assert json.loads(config.to_json_string())["hidden_size"] == 37
        assert VideoMAEConfig(**json.loads(config.to_json_string())) == config

    @pytest.mark.parametrize("folder", ["", "deep/er"])
    def test_files(self, folder: str, tmp_path: Path) -> None:
        config = VideoMAEConfig(hidden_size=37)

        config.to_json_file(tmp_path / "one.json")
        config.save_pretrained(tmp_path / folder)

        assert VideoMAEConfig.from_json_file(tmp_path / "one.json") == config
        assert VideoMAEConfig.from_pretrained(tmp_path, subfolder=folder) == config

    def test_classes_by_number(self) -> None:
        config = VideoMAEConfig(num_labels=5)
        assert (len(config.id2label), len(config.label2id)) == (5, 5)
        config.num_labels = 3
        assert (len(config.id2label), len(config.label2id)) == (3, 3)

    def test_nothing_is_required(self) -> None:
        assert VideoMAEConfig() == VideoMAEConfig(**{})
        assert VideoMAEConfig.is_composition is False
