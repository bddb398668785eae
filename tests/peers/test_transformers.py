"""transformers 5.x beside us: folders travel both ways, and its Trainer, its pipeline and PEFT work on our models."""

import json
import math

import numpy as np
import pytest
import torch

import videomae

# The peers' own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

TINY = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}
CLASSES = ["VideoMAEModel", "VideoMAEForPreTraining", "VideoMAEForVideoClassification"]
VARIANTS = {
    "defaults": {},
    "final_norm": {"use_mean_pooling": False, "norm_pix_loss": False},
    "no_qkv_bias": {"qkv_bias": False},
    "labels": {"id2label": {0: "push", 1: "pull", 2: "turn"}, "label2id": {"push": 0, "pull": 1, "turn": 2}},
    "rectangular": {"image_size": [16, 24], "tubelet_size": 1, "hidden_act": "gelu_new", "layer_norm_eps": 1e-6},
}


@pytest.fixture(scope="session")
def transformers():
    return pytest.importorskip("transformers", minversion="5", reason="needs the test extra (transformers 5.x)")


def loses_biases(transformers):
    """A known fault of theirs: q_bias and v_bias of a file, as all of 4.x wrote it, become zeros without a word.

    Seen in 5.10.4, 5.15.1 and 5.17.0; not in 5.20.2 and later ones.
    """
    return tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 20)


@pytest.fixture
def reading_transformers(transformers):
    """Where it is to load a folder of ours."""
    if loses_biases(transformers):
        pytest.skip(f"transformers {transformers.__version__} loads q_bias and v_bias as zeros: 5.20.2 does not")
    return transformers


@pytest.fixture(scope="session")
def peft():
    return pytest.importorskip("peft", reason="needs the test extra (peft)")


def draw(model, seed=0):
    """Every weight random, biases and mask token too, so that one that got lost changes the outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator)
            scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3
            parameter.copy_(values * scale + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return model.eval()


def make_ours(class_name, **config):
    return draw(getattr(videomae, class_name)(videomae.VideoMAEConfig(**{**TINY, **config})))


def clips_for(config, batch_size=2):
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    shape = (batch_size, config.num_frames, config.num_channels, height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def outputs_of(model):
    """What two models must agree on: the tensors of a forward with everything that the class can return."""
    arguments = {"pixel_values": clips_for(model.config), "output_hidden_states": True}
    name = type(model).__name__
    if name == "VideoMAEForPreTraining":
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        num_tokens = (model.config.num_frames // model.config.tubelet_size) * (height // 8) * (width // 8)
        arguments["bool_masked_pos"] = (torch.arange(num_tokens) % 2 == 0).repeat(2, 1)
    if name == "VideoMAEForVideoClassification":
        arguments["labels"] = torch.tensor([1, 0])
    with torch.no_grad():
        output = model(**arguments)
    found = [output[key] for key in ("loss", "logits", "last_hidden_state") if key in output]
    return [*found, *output.hidden_states]


def assert_same_outputs(left, right):
    left, right = outputs_of(left), outputs_of(right)
    assert len(left) == len(right)
    for found, expected in zip(left, right, strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())


def assert_whole(info):
    assert not any(info.values()), info


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("class_name", CLASSES)
def test_transformers_loads_what_we_save(class_name, variant, reading_transformers, tmp_path):
    ours = make_ours(class_name, **VARIANTS[variant])
    ours.save_pretrained(tmp_path)
    theirs, info = getattr(reading_transformers, class_name).from_pretrained(tmp_path, output_loading_info=True)
    assert_whole(info)
    assert_same_outputs(theirs, ours)
    names = dict(theirs.named_parameters())
    biases = [name for name in names if name.endswith(("query.bias", "value.bias"))]
    layers = 3 if class_name == "VideoMAEForPreTraining" else 2
    assert len(biases) == (0 if variant == "no_qkv_bias" else 2 * layers)
    for name in biases:
        mine = name.replace("query.bias", "q_bias").replace("value.bias", "v_bias")
        assert torch.equal(names[name], dict(ours.named_parameters())[mine])
        assert names[name].abs().min() > 0
    assert theirs.config.id2label == ours.config.id2label
    assert theirs.config.num_frames == ours.config.num_frames


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("class_name", CLASSES)
def test_we_load_what_transformers_saves(class_name, variant, transformers, tmp_path):
    theirs = draw(getattr(transformers, class_name)(transformers.VideoMAEConfig(**{**TINY, **VARIANTS[variant]})))
    theirs.save_pretrained(tmp_path)
    ours, info = getattr(videomae, class_name).from_pretrained(tmp_path, output_loading_info=True)
    assert_whole(info)
    assert_same_outputs(ours, theirs)
    assert ours.config.qkv_bias is (variant != "no_qkv_bias")
    biases = [value for name, value in ours.named_parameters() if name.endswith(("q_bias", "v_bias"))]
    assert len(biases) == (0 if variant == "no_qkv_bias" else 6 if class_name == "VideoMAEForPreTraining" else 4)
    assert all(bias.abs().min() > 0 for bias in biases)
    assert ours.config.id2label == theirs.config.id2label


def test_we_load_shards_of_transformers(transformers, tmp_path):
    theirs = draw(transformers.VideoMAEForPreTraining(transformers.VideoMAEConfig(**TINY)))
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    ours, info = videomae.VideoMAEForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert_whole(info)
    assert_same_outputs(ours, theirs)


def test_precision_of_a_saved_folder_is_that_of_its_weights(transformers, tmp_path):
    """transformers 5.x loads in the type that the folder states: a stale statement would halve the precision."""
    theirs = draw(transformers.VideoMAEModel(transformers.VideoMAEConfig(**TINY)))
    theirs.half().save_pretrained(tmp_path / "half")
    ours = videomae.VideoMAEModel.from_pretrained(tmp_path / "half")
    assert ours.dtype == torch.float32
    ours.save_pretrained(tmp_path / "whole")
    assert transformers.VideoMAEModel.from_pretrained(tmp_path / "whole").dtype == torch.float32
    ours.bfloat16().save_pretrained(tmp_path / "brief")
    assert transformers.VideoMAEModel.from_pretrained(tmp_path / "brief").dtype == torch.bfloat16


@pytest.mark.parametrize(("trained", "used"), [("VideoMAEForPreTraining", "VideoMAEForVideoClassification")])
def test_fine_tuning_starts_from_the_other_side(trained, used, reading_transformers, tmp_path):
    """A pre-trained folder into a classifier: both sides find the same weights missing and left over."""
    make_ours(trained, use_mean_pooling=False).save_pretrained(tmp_path)
    config = {"use_mean_pooling": True, "num_labels": 3}
    ours, info = getattr(videomae, used).from_pretrained(tmp_path, output_loading_info=True, **config)
    theirs, other = getattr(reading_transformers, used).from_pretrained(tmp_path, output_loading_info=True, **config)
    assert set(info["missing_keys"]) == set(other["missing_keys"])
    heads = {"classifier.weight", "classifier.bias", "fc_norm.weight", "fc_norm.bias"}
    assert set(info["missing_keys"]) == heads
    unused = {name.split(".")[0] for name in info["unexpected_keys"]}
    assert unused == {"decoder", "encoder_to_decoder", "mask_token", "videomae"}
    assert_same_outputs(ours.videomae, theirs.videomae)


def write_video(path, num_frames):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(num_frames):
            rows, columns = np.mgrid[:48, :64]
            image = np.stack([rows * 4, columns * 3, np.full_like(rows, 60 * index)], axis=-1) % 256
            for packet in stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def torchcodec_works():
    """It is installed and finds an FFmpeg on this machine; else it raises whatever its loader met."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@pytest.fixture
def classifier_folder(tmp_path):
    model = make_ours("VideoMAEForVideoClassification", **VARIANTS["labels"])
    with torch.no_grad():
        model.classifier.bias.zero_()
    processor = videomae.VideoMAEImageProcessor(
        size={"shortest_edge": 16},
        crop_size={"height": 16, "width": 16},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model", model, processor


def test_pipeline_answers_from_our_folder(classifier_folder, reading_transformers, tmp_path):
    """A video of exactly as many frames as the model takes, so that every way of sampling them takes all."""
    folder, model, processor = classifier_folder
    video = tmp_path / "clip.mp4"
    write_video(video, num_frames=4)
    classify = reading_transformers.pipeline("video-classification", model=str(folder), device="cpu")
    if not torchcodec_works():
        # The pipeline then has no decoder for its video processor, and its other way decodes with PyAV.
        classify.video_processor = None
    answer = classify(str(video), top_k=3)
    assert sorted(entry["label"] for entry in answer) == ["pull", "push", "turn"]
    assert math.isclose(sum(entry["score"] for entry in answer), 1, rel_tol=1e-5)

    inputs = processor(list(videomae.read_video(video, range(4))), return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits.softmax(-1)[0]
        darker = model(inputs["pixel_values"] - 1).logits.softmax(-1)[0]
    assert (darker - expected).abs().max() > 0.1, "the scores must tell other pixels apart"
    for entry in answer:
        index = model.config.label2id[entry["label"]]
        assert abs(entry["score"] - expected[index].item()) < 0.02, (answer, expected)


def test_their_processor_reads_our_preprocessor_config(classifier_folder, transformers):
    folder, _, ours = classifier_folder
    theirs = transformers.AutoImageProcessor.from_pretrained(folder)
    frames = [np.random.default_rng(index).integers(0, 256, (24, 40, 3), dtype=np.uint8) for index in range(4)]
    found = theirs(frames, return_tensors="pt")["pixel_values"]
    expected = ours(frames, return_tensors="pt")["pixel_values"]
    assert found.shape == expected.shape == (1, 4, 3, 16, 16)
    gray_level = 1 / 255 / 0.225
    assert (found - expected).abs().max() < 2.1 * gray_level


def labelled_clips(count=16):
    """Two classes that differ in brightness: easy, so that a few steps show whether training works."""
    generator = torch.Generator().manual_seed(3)
    clips = []
    for index in range(count):
        label = index % 2
        pixels = 0.3 * torch.randn(4, 3, 16, 16, generator=generator) + (label - 0.5)
        clips.append({"pixel_values": pixels, "labels": label})
    return clips


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def training_arguments(transformers, folder, **changes):
    return transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        per_device_eval_batch_size=8,
        learning_rate=1e-2,
        report_to="none",
        use_cpu=True,
        seed=0,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **{"save_strategy": "no", **changes},
    )


@pytest.mark.parametrize("checkpointing", [False, True])
def test_trainer_trains_and_evaluates_our_classifier(checkpointing, transformers, tmp_path):
    pytest.importorskip("accelerate", reason="needs the test extra (accelerate)")
    torch.manual_seed(0)
    model = videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**TINY, num_labels=2))
    # Releases from 5.23 on call it so, and warn of the older name.
    names = ("activation_checkpointing", "gradient_checkpointing")
    known = next(name for name in names if name in transformers.TrainingArguments.__dataclass_fields__)
    arguments = training_arguments(
        transformers,
        tmp_path,
        num_train_epochs=6,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        **{known: checkpointing},
    )
    clips = labelled_clips()
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=clips, eval_dataset=clips, compute_metrics=accuracy
    )
    before = trainer.evaluate()
    assert set(before) >= {"eval_loss", "eval_accuracy"}
    trainer.train()
    assert model.is_gradient_checkpointing is checkpointing
    after = trainer.evaluate()
    assert after["eval_loss"] < 0.5 * before["eval_loss"], (before, after)
    assert after["eval_accuracy"] == 1.0
    prediction = trainer.predict(clips)
    assert prediction.predictions.shape == (16, 2)
    assert np.isfinite(prediction.predictions).all()

    checkpoint = trainer.state.best_model_checkpoint
    loaded, info = videomae.VideoMAEForVideoClassification.from_pretrained(
        checkpoint, config=model.config, output_loading_info=True
    )
    assert_whole(info)
    assert_same_outputs(loaded, model.eval())
    if loses_biases(transformers):
        return
    trainer.save_model(str(tmp_path / "final"))
    model.config.save_pretrained(tmp_path / "final")
    theirs, info = transformers.VideoMAEForVideoClassification.from_pretrained(
        tmp_path / "final", output_loading_info=True
    )
    assert_whole(info)
    assert_same_outputs(theirs, model)


def test_trainer_pretrains(transformers, tmp_path):
    pytest.importorskip("accelerate", reason="needs the test extra (accelerate)")
    torch.manual_seed(0)
    model = videomae.VideoMAEForPreTraining(videomae.VideoMAEConfig(**TINY))
    arguments = training_arguments(transformers, tmp_path, num_train_epochs=10, logging_steps=1)
    ramp = torch.linspace(-1, 1, 16)
    clips = [{"pixel_values": (ramp * (1 + index / 16)).expand(4, 3, 16, 16).clone()} for index in range(16)]

    def collate(samples):
        generator = torch.Generator().manual_seed(0)
        mask = videomae.tube_mask(len(samples), model.config.grid.shape, 0.5, generator=generator)
        return {"pixel_values": torch.stack([s["pixel_values"] for s in samples]), "bool_masked_pos": mask}

    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=clips, data_collator=collate)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 20
    assert losses[-1] < 0.5 * losses[0], losses


def train_a_little(model, steps=3):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    clips = clips_for(model.config)
    for _ in range(steps):
        loss = model(pixel_values=clips, labels=torch.tensor([1, 0])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_lora(peft, tmp_path):
    model = make_ours("VideoMAEForVideoClassification", num_labels=2)
    clips = clips_for(model.config)
    with torch.no_grad():
        before = model(clips).logits
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], init_lora_weights=True)
    adapted = peft.get_peft_model(model, lora)
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 2 * 2
    assert all("lora_" in name and (".query." in name or ".value." in name) for name in trained)
    with torch.no_grad():
        assert torch.allclose(adapted(pixel_values=clips).logits, before, atol=1e-6), "LoRA starts as nothing"

    train_a_little(adapted)
    adapted.eval()
    with torch.no_grad():
        after = adapted(pixel_values=clips).logits
    assert (after - before).abs().max() > 1e-2
    base = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items() if "lora_" not in name}
    assert set(base) == set(weights)
    assert all(torch.equal(base[name], value) for name, value in weights.items()), "only LoRA's weights were trained"

    adapted.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(make_ours("VideoMAEForVideoClassification", num_labels=2), tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(again(pixel_values=clips).logits, after, atol=1e-6)

    merged = adapted.merge_and_unload()
    assert type(merged) is videomae.VideoMAEForVideoClassification
    assert set(merged.state_dict()) == set(weights)
    with torch.no_grad():
        assert torch.allclose(merged(clips).logits, after, atol=1e-5)


def test_lora_with_a_trained_head(peft):
    """The usual recipe: LoRA in the encoder, the new classifier trained whole."""
    model = make_ours("VideoMAEForVideoClassification", num_labels=2)
    lora = peft.LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=["classifier"])
    adapted = peft.get_peft_model(model, lora)
    head = model.classifier.original_module.weight.clone()
    train_a_little(adapted)
    merged = adapted.merge_and_unload()
    assert isinstance(merged.classifier, torch.nn.Linear)
    assert (merged.classifier.weight - head).abs().max() > 1e-3


@pytest.mark.parametrize("target", ["all-linear", ["query", "key", "value", "dense"]])
def test_lora_on_every_linear(target, peft):
    model = make_ours("VideoMAEForVideoClassification", num_labels=2)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=target, init_lora_weights=False)).eval()
    clips = clips_for(model.config)
    with torch.no_grad():
        after = adapted(pixel_values=clips).logits
        with adapted.disable_adapter():
            before = adapted(pixel_values=clips).logits
        merged = adapted.merge_and_unload()(clips).logits
    assert (after - before).abs().max() > 1e-3
    assert torch.allclose(merged, after, atol=1e-4)


def test_trainer_trains_lora(peft, transformers, tmp_path):
    pytest.importorskip("accelerate", reason="needs the test extra (accelerate)")
    torch.manual_seed(0)
    model = videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**TINY, num_labels=2))
    lora = peft.LoraConfig(r=4, target_modules=["query", "value"], modules_to_save=["classifier"])
    clips = labelled_clips()
    trainer = transformers.Trainer(
        model=peft.get_peft_model(model, lora),
        args=training_arguments(transformers, tmp_path, num_train_epochs=6, label_names=["labels"]),
        train_dataset=clips,
        eval_dataset=clips,
        compute_metrics=accuracy,
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < 0.8 * before["eval_loss"], (before, after)
    merged = trainer.model.merge_and_unload()
    with torch.no_grad():
        pixel_values = torch.stack([clip["pixel_values"] for clip in clips])
        found = merged.eval()(pixel_values).logits
    assert np.allclose(found.numpy(), trainer.predict(clips).predictions, atol=1e-4)


def test_config_file_reads_as_theirs(reading_transformers, tmp_path):
    """`AutoConfig` and `AutoModel` recognize our folder by its `model_type` and `architectures`."""
    model = make_ours("VideoMAEForVideoClassification", **VARIANTS["labels"])
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["VideoMAEForVideoClassification"]
    assert type(reading_transformers.AutoConfig.from_pretrained(tmp_path)) is reading_transformers.VideoMAEConfig
    theirs = reading_transformers.AutoModelForVideoClassification.from_pretrained(tmp_path)
    assert_same_outputs(theirs, model)
