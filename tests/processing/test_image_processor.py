"""The image processor: results of transformers 4.34.0, every kind of input, its file, errors that help."""

from __future__ import annotations

import copy
import importlib.util
import json
import pickle
from pathlib import Path
from types import ModuleType

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from videomae.core.errors import CheckpointError, ConfigError, InputError, ShapeError
from videomae.processing.batch_feature import BatchFeature
from videomae.processing.image_processor import VideoMAEFeatureExtractor, VideoMAEImageProcessor

GOLDENS = Path(__file__).parents[1] / "goldens"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases = _load("processor_cases")
SMALL = cases.SMALL


@pytest.fixture(scope="module")
def goldens() -> dict[str, np.ndarray]:
    with np.load(GOLDENS / "processor.npz") as file:
        return dict(file)


def assert_near(levels: np.ndarray, expected: np.ndarray, *, most: float = 2, share: float = 1e-3) -> None:
    """At most one gray level off but for a share of the values, `most` anywhere."""
    difference = np.abs(levels - np.asarray(expected, dtype=np.float64))
    assert difference.max() <= most + 0.01
    assert (difference > 1.01).mean() <= share


class TestGoldens:
    def test_no_case_left_out(self, goldens: dict[str, np.ndarray]) -> None:
        assert set(goldens) == {*cases.CASES, "types"}

    @pytest.mark.parametrize("name", [name for name in cases.CASES if name != "odd_padding"])
    def test_equals_4_34(self, name: str, goldens: dict[str, np.ndarray]) -> None:
        kind, options = cases.CASES[name]
        frames = cases.frames_of(**kind)
        result = VideoMAEImageProcessor()(frames, return_tensors="np", **options).pixel_values
        assert result.shape == goldens[name].shape
        assert str(result.dtype) == json.loads(str(goldens["types"]))[name]
        bounds = {}
        if name == "lanczos_both" and int(PIL.__version__.split(".")[0]) < 13:
            # The goldens come from Pillow 13, which begins with the axis that leaves fewer pixels, here the height;
            # older ones begin with the width. What overshoots 0 or 255 is cut off between the two.
            bounds = {"most": 9, "share": 6e-3}
        assert_near(cases.levels_of(result, frames, options), goldens[name], **bounds)

    @pytest.mark.parametrize("name", ["landscape", "portrait", "enlarged", "without_do_resize", "smaller_than_crop"])
    def test_exactly_where_pillow_resizes(
        self, name: str, goldens: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from videomae.processing import _process

        def plain(
            pixels: torch.Tensor, size: tuple[int, int], resample: Image.Resampling, crop_size: object
        ) -> torch.Tensor:
            return _process.resize_with_pillow(pixels, size, resample)

        monkeypatch.setattr(_process, "resize", plain)
        kind, options = cases.CASES[name]
        frames = cases.frames_of(**kind)
        result = VideoMAEImageProcessor()(frames, return_tensors="np", **options).pixel_values
        np.testing.assert_allclose(cases.levels_of(result, frames, options), goldens[name], atol=1e-3)


class TestFastResize:
    def test_near_pillow_for_any_size(self) -> None:
        from videomae.processing._process import resize, resize_with_pillow

        random = np.random.default_rng(0)
        for _ in range(60):
            height, width, new_height, new_width = np.exp(random.uniform(np.log(8), np.log(200), 4)).astype(int)
            frames = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
            pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
            size = (int(new_height), int(new_width))
            plain = resize_with_pillow(pixels, size, Image.Resampling.BILINEAR).numpy()
            for layout in (pixels, pixels.contiguous()):
                assert_near(resize(layout, size, Image.Resampling.BILINEAR).numpy().astype(float), plain)

    def test_four_channels_do_not_mix(self) -> None:
        frames = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
        options = {**SMALL, "image_mean": 0.0, "image_std": 1.0, "resample": 3}
        together = VideoMAEImageProcessor(**options)(
            frames, input_data_format="channels_last", return_tensors="np"
        ).pixel_values
        for channel in range(4):
            alone = VideoMAEImageProcessor(**options)(frames[:, :, channel, None], return_tensors="np").pixel_values
            np.testing.assert_array_equal(together[:, :, channel, None], alone)


class TestInputs:
    frames = np.stack(cases.frames_of(48, 80, num_frames=3))  # (3, 48, 80, 3)

    def expected(self) -> torch.Tensor:
        return VideoMAEImageProcessor(**SMALL)(list(self.frames), return_tensors="pt").pixel_values

    @pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
    @pytest.mark.parametrize(
        "kind", ["list", "array", "torch_list", "torch", "batch", "batch_array", "clips", "copies"]
    )
    def test_same_result_from_every_kind(self, kind: str, layout: str) -> None:
        clip = self.frames if layout == "channels_last" else np.ascontiguousarray(self.frames.transpose(0, 3, 1, 2))
        videos, num_videos = {
            "list": (list(clip), 1),
            "copies": ([frame.copy() for frame in clip], 1),
            "array": (clip, 1),
            "torch_list": (list(torch.from_numpy(clip)), 1),
            "torch": (torch.from_numpy(clip), 1),
            "batch": ([list(clip), tuple(clip)], 2),
            "batch_array": (np.stack([clip, clip]), 2),
            "clips": ([clip, torch.from_numpy(clip)], 2),
        }[kind]
        result = VideoMAEImageProcessor(**SMALL)(videos, return_tensors="pt").pixel_values
        assert result.shape == (num_videos, 3, 3, 32, 32)
        assert result.is_contiguous()
        for video in result:
            assert torch.equal(video, self.expected()[0])

    def test_pil_and_single_frame(self) -> None:
        images = [Image.fromarray(frame) for frame in self.frames]
        processor = VideoMAEImageProcessor(**SMALL)
        assert torch.equal(processor(images, return_tensors="pt").pixel_values, self.expected())
        for frame in (images[1], self.frames[1], torch.from_numpy(self.frames[1])):
            assert torch.equal(processor(frame, return_tensors="pt").pixel_values, self.expected()[:, 1:2])
        gray = VideoMAEImageProcessor(**SMALL, image_mean=0.5, image_std=0.5)
        assert gray(images[0].convert("L"), return_tensors="np").pixel_values.shape == (1, 1, 1, 32, 32)

    def test_views_in_memory(self) -> None:
        spread = np.zeros((6, 50, 90, 3), dtype=np.uint8)
        spread[::2, :48, :80] = self.frames
        every_second = spread[::2, :48, :80]
        read_only = self.frames.copy()
        read_only.flags.writeable = False
        backwards = self.frames[::-1].copy()[::-1]
        mirrored = np.ascontiguousarray(self.frames[:, :, ::-1])[:, :, ::-1]
        shuffled = [frame.copy() for frame in self.frames]
        shuffled = [shuffled[0], *self.frames[1:]]
        processor = VideoMAEImageProcessor(**SMALL)
        for frames in (every_second, read_only, backwards, mirrored, shuffled):
            for videos in (frames, list(frames)):
                assert torch.equal(processor(videos, return_tensors="pt").pixel_values, self.expected())
        repeated = processor([self.frames[1]] * 3, return_tensors="pt").pixel_values
        assert torch.equal(repeated, self.expected()[:, [1, 1, 1]])

    def test_input_is_not_touched_and_output_is_its_own(self) -> None:
        frames = self.frames.copy()
        off = dict.fromkeys(cases.STEPS, False)
        result = VideoMAEImageProcessor(**off)(frames, return_tensors="np", data_format=None).pixel_values
        np.testing.assert_array_equal(result[0], self.frames)
        result[:] = 0
        np.testing.assert_array_equal(frames, self.frames)

    def test_frames_of_several_sizes(self) -> None:
        other = cases.frames_of(61, 47)[0]
        processor = VideoMAEImageProcessor(**SMALL)
        result = processor([self.frames[0], other, self.frames[2]], return_tensors="pt").pixel_values
        assert torch.equal(result[:, [0, 2]], self.expected()[:, [0, 2]])
        assert torch.equal(result[0, 1], processor(other, return_tensors="pt").pixel_values[0, 0])
        with pytest.raises(ShapeError, match=r"frames of shapes \(3, 32, 53\) and \(3, 41, 32\)"):
            processor([self.frames[0], other], do_center_crop=False, return_tensors="pt")
        ragged = processor([self.frames[0], other], do_center_crop=False).pixel_values
        assert [frame.shape for frame in ragged[0]] == [(3, 32, 53), (3, 41, 32)]

    def test_no_tensors_asked_for(self) -> None:
        result = VideoMAEImageProcessor(**SMALL)(list(self.frames)).pixel_values
        assert isinstance(result, list)
        assert isinstance(result[0], list)
        assert all(isinstance(frame, np.ndarray) for frame in result[0])
        np.testing.assert_array_equal(np.array(result), self.expected().numpy())

    def test_layout_of_the_result(self) -> None:
        processor = VideoMAEImageProcessor(**SMALL)
        last = processor(self.frames, return_tensors="pt", data_format="channels_last").pixel_values
        assert last.shape == (1, 3, 32, 32, 3)
        assert torch.equal(last.permute(0, 1, 4, 2, 3), self.expected())
        first = self.frames.transpose(0, 3, 1, 2)
        assert processor(self.frames, return_tensors="np", data_format=None).pixel_values.shape[-1] == 3
        assert processor(first, return_tensors="np", data_format=None).pixel_values.shape[2] == 3

    def test_layout_of_the_input(self) -> None:
        narrow = cases.frames_of(3, 40)[0]  # 3 rows: read as channels first unless told otherwise
        processor = VideoMAEImageProcessor(**SMALL, do_resize=False)
        told = processor(narrow, input_data_format="channels_last", return_tensors="np").pixel_values
        levels = np.round((told * 0.5 + 0.5) * 255)
        np.testing.assert_array_equal(levels[0, 0, :, 14:17], narrow[:, 4:36].transpose(2, 0, 1))
        assert (levels[0, 0, :, :14] == 0).all()

    def test_odd_padding_keeps_the_size(self) -> None:
        frame = cases.frames_of(25, 40)[0]
        result = VideoMAEImageProcessor(**SMALL, do_resize=False)(frame, return_tensors="np").pixel_values
        levels = np.round((result[0, 0] * 0.5 + 0.5) * 255)
        assert levels.shape == (3, 32, 32)
        np.testing.assert_array_equal(levels[:, 3:28], frame[:, 4:36].transpose(2, 0, 1))
        assert levels[:, :3].max() == 0
        assert levels[:, 28:].max() == 0
        with np.load(GOLDENS / "processor.npz") as goldens:
            np.testing.assert_array_equal(levels[:, :31], goldens["odd_padding"][0, 0])

    def test_normalizing_levels_without_rescaling(self) -> None:
        options = {"image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375], "do_rescale": False}
        levels = VideoMAEImageProcessor(**SMALL, **options)(self.frames, return_tensors="pt").pixel_values
        scaled = {name: [value / 255 for value in options[name]] for name in ("image_mean", "image_std")}
        unit = VideoMAEImageProcessor(**SMALL, **scaled)(self.frames, return_tensors="pt").pixel_values
        torch.testing.assert_close(levels, unit, atol=1e-5, rtol=1e-5)

    def test_a_black_frame_among_fractions(self) -> None:
        frames = cases.frames_of(48, 80, num_frames=3, dtype="float32", fractions=True, black=(1,))
        result = VideoMAEImageProcessor(**SMALL, do_rescale=False)(frames, return_tensors="pt").pixel_values
        assert result.dtype == torch.float32
        assert (result[0, 1] == -1).all()
        assert result[0, [0, 2]].min() >= -1
        assert result[0, [0, 2]].max() > 0.5

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int16, torch.uint16, torch.bool])
    def test_other_types(self, dtype: torch.dtype) -> None:
        frames = (torch.from_numpy(self.frames) % 2).to(dtype)
        processor = VideoMAEImageProcessor(**SMALL)
        expected = processor(self.frames % 2, return_tensors="pt").pixel_values
        assert torch.equal(processor(frames, return_tensors="pt").pixel_values, expected)
        unresized = processor(frames, do_resize=False, return_tensors="pt").pixel_values
        assert unresized.dtype == torch.float32
        assert unresized.shape == (1, 3, 3, 32, 32)

    def test_gradients_are_not_kept(self) -> None:
        frames = torch.from_numpy(self.frames).float().requires_grad_()
        assert torch.equal(VideoMAEImageProcessor(**SMALL)(frames, return_tensors="pt").pixel_values, self.expected())


class TestSettings:
    def test_defaults(self) -> None:
        processor = VideoMAEImageProcessor()
        assert processor.size == {"shortest_edge": 224}
        assert processor.crop_size == {"height": 224, "width": 224}
        assert processor.resample == 2
        assert processor.rescale_factor == 1 / 255
        assert processor.image_mean == processor.image_std == [0.5, 0.5, 0.5]
        assert all(getattr(processor, name) is True for name in cases.STEPS)

    def test_overrides_hold_for_one_call(self) -> None:
        processor = VideoMAEImageProcessor()
        frame = cases.frames_of(48, 80)
        small = processor(frame, size=32, crop_size=(24, 28), return_tensors="np")
        assert small.pixel_values.shape == (1, 1, 3, 24, 28)
        processor.size, processor.crop_size = {"shortest_edge": 40}, {"height": 40, "width": 40}
        assert processor(frame, return_tensors="np").pixel_values.shape == (1, 1, 3, 40, 40)

    def test_enumerations_of_transformers(self) -> None:
        import enum

        layout = enum.Enum("ChannelDimension", {"LAST": "channels_last"})
        kind = enum.Enum("TensorType", {"NUMPY": "np"})
        result = VideoMAEImageProcessor(**SMALL)(
            cases.frames_of(48, 80),
            data_format=layout.LAST,
            input_data_format=layout.LAST,
            return_tensors=kind.NUMPY,
            resample=Image.Resampling.BOX,
        )
        assert result.pixel_values.shape == (1, 1, 32, 32, 3)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": {"shortest": 224}}, "size={'shortest': 224}: expected a whole number"),
            ({"size": {"shortest_edge": 0}}, "positive whole numbers"),
            ({"size": {"shortest_edge": 22.4}}, "positive whole numbers"),
            ({"size": {"longest_edge": 64}}, "a longest edge alone"),
            ({"size": "224"}, "size='224'"),
            ({"crop_size": {"shortest_edge": 32}}, "a crop needs both of its sides"),
            ({"resample": 9}, "resample=9: expected one of 0 nearest, 1 lanczos, 2 bilinear"),
            ({"do_resize": "yes"}, "do_resize='yes': expected True or False"),
            ({"rescale_factor": "1/255"}, "rescale_factor='1/255': expected a number"),
            ({"image_mean": "imagenet"}, "image_mean='imagenet': expected a number, or a list"),
            ({"image_std": []}, "image_std=\\[\\]"),
        ],
    )
    def test_senseless_settings(self, options: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            VideoMAEImageProcessor(**options)
        assert "\n" not in str(caught.value)
        with pytest.raises(ConfigError, match=message):
            VideoMAEImageProcessor()(cases.frames_of(8, 8), **options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"return_tensors": "tf"}, "return_tensors='tf': expected one of pt, np"),
            ({"data_format": "first"}, "data_format='first': expected one of channels_first, channels_last"),
            ({"input_data_format": 1}, "input_data_format=1"),
            ({"do_rezise": False}, "write do_resize"),
            ({"image_mean": [0.5, 0.5]}, "as the frames have 3 channels"),
            ({"image_std": [0.2, 0.0, 0.2]}, "expected no zeros"),
            ({"input_data_format": "channels_first"}, "as the frames have 20 channels"),
        ],
    )
    def test_senseless_parameters(self, options: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            VideoMAEImageProcessor(**SMALL)(cases.frames_of(20, 30), **options)
        assert "\n" not in str(caught.value)

    def test_other_keywords_are_ignored(self) -> None:
        VideoMAEImageProcessor(**SMALL)(cases.frames_of(20, 30), padding=True)

    def test_deprecated_name(self) -> None:
        with pytest.warns(FutureWarning, match="use VideoMAEImageProcessor"):
            processor = VideoMAEFeatureExtractor(size=32)
        assert isinstance(processor, VideoMAEImageProcessor)
        assert processor.to_dict()["image_processor_type"] == "VideoMAEImageProcessor"


class TestFile:
    def test_round_trip(self, tmp_path: Path) -> None:
        sampling = {"method": "dense", "num_frames": 16, "frame_stride": 4}
        processor = VideoMAEImageProcessor(size=32, resample=3, image_mean=[0.1, 0.2, 0.3], sampling=sampling)
        assert processor.save_pretrained(tmp_path / "new") == [str(tmp_path / "new" / "preprocessor_config.json")]
        assert [file.name for file in (tmp_path / "new").iterdir()] == ["preprocessor_config.json"]
        written = json.loads((tmp_path / "new" / "preprocessor_config.json").read_text())
        assert written["image_processor_type"] == "VideoMAEImageProcessor"
        assert written["resample"] == 3
        assert written["sampling"] == sampling
        again = VideoMAEImageProcessor.from_pretrained(tmp_path / "new")
        assert again == processor
        assert again.sampling == sampling
        assert VideoMAEImageProcessor.from_json_file(tmp_path / "new" / "preprocessor_config.json") == processor
        assert VideoMAEImageProcessor.from_dict(processor.to_dict()) == processor

    def test_overrides(self, tmp_path: Path) -> None:
        VideoMAEImageProcessor(sampling={"num_frames": 8}).save_pretrained(tmp_path)
        processor = VideoMAEImageProcessor.from_pretrained(
            tmp_path, size={"shortest_edge": 112}, do_normalize=False, local_files_only=True
        )
        assert processor.size == {"shortest_edge": 112}
        assert processor.do_normalize is False
        processor, unused = VideoMAEImageProcessor.from_pretrained(
            tmp_path, crop_size=96, sampling=None, color="red", return_unused_kwargs=True
        )
        assert processor.crop_size == {"height": 96, "width": 96}
        assert processor.sampling is None
        assert unused == {"color": "red"}
        assert not hasattr(processor, "color")

    def test_file_of_the_first_published_checkpoints(self, tmp_path: Path) -> None:
        settings = {
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "VideoMAEFeatureExtractor",
            **cases.IMAGENET,
            "resample": 2,
            "size": 224,
        }
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
        processor = VideoMAEImageProcessor.from_pretrained(tmp_path)
        assert processor.size == {"shortest_edge": 224}
        assert processor.crop_size == {"height": 224, "width": 224}
        assert processor.image_mean == cases.IMAGENET["image_mean"]

    def test_subfolder_and_single_file(self, tmp_path: Path) -> None:
        processor = VideoMAEImageProcessor(size=64)
        processor.save_pretrained(tmp_path / "best")
        assert VideoMAEImageProcessor.from_pretrained(tmp_path, subfolder="best") == processor
        assert VideoMAEImageProcessor.from_pretrained(tmp_path / "best" / "preprocessor_config.json") == processor

    def test_nested_and_video_settings(self, tmp_path: Path) -> None:
        inner = {"image_processor_type": "VideoMAEImageProcessorFast", "size": {"shortest_edge": 64}, "device": None}
        (tmp_path / "video_preprocessor_config.json").write_text(
            json.dumps({"video_processor_type": "VideoMAEVideoProcessor", "size": {"shortest_edge": 48}})
        )
        assert VideoMAEImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 48}
        VideoMAEImageProcessor(size=56).save_pretrained(tmp_path)
        assert VideoMAEImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 56}
        (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "X"}))
        assert VideoMAEImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 56}
        (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
        processor = VideoMAEImageProcessor.from_pretrained(tmp_path)
        assert processor.size == {"shortest_edge": 64}
        assert processor.to_dict()["image_processor_type"] == "VideoMAEImageProcessor"

    def test_bad_files(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"expected a preprocessor_config\.json in it"):
            VideoMAEImageProcessor.from_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="expected a folder on this machine or a repository"):
            VideoMAEImageProcessor.from_pretrained(tmp_path / "absent")
        file = tmp_path / "preprocessor_config.json"
        for text, message in (
            ("{", "line 1: .* expected JSON"),
            ("[]", "expected a JSON object"),
            ('{"image_processor_type": "VivitImageProcessor"}', "expected the settings of a VideoMAE processor"),
            ('{"size": {"side": 3}}', "size={'side': 3}"),
        ):
            file.write_text(text)
            with pytest.raises(ConfigError, match=message) as caught:
                VideoMAEImageProcessor.from_pretrained(tmp_path)
            assert "\n" not in str(caught.value)
        with pytest.raises(ConfigError, match="expected a folder, not a file"):
            VideoMAEImageProcessor().save_pretrained(file)

    def test_a_failed_write_leaves_the_old_file(self, tmp_path: Path) -> None:
        processor = VideoMAEImageProcessor(size=64)
        processor.save_pretrained(tmp_path)
        processor.extra = object()
        with pytest.raises(TypeError, match="cannot be written to JSON"):
            processor.save_pretrained(tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == ["preprocessor_config.json"]
        assert VideoMAEImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 64}

    def test_push_to_hub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from videomae.processing import image_processor

        uploads = []

        def upload(folder: str, repo_id: str, **options: object) -> str:
            uploads.append(({file.name for file in Path(folder).iterdir()}, repo_id, options))
            return "https://hub/commit"

        monkeypatch.setattr(image_processor, "upload_folder", upload)
        processor = VideoMAEImageProcessor()
        assert processor.push_to_hub("team/tiny", private=True) == "https://hub/commit"
        processor.save_pretrained(tmp_path / "mine", push_to_hub=True, token="t")
        assert uploads == [
            ({"preprocessor_config.json"}, "team/tiny", {"private": True, "commit_message": "Upload image processor"}),
            ({"preprocessor_config.json"}, "mine", {"token": "t", "commit_message": "Upload image processor"}),
        ]

    def test_transformers_5_reads_and_writes_it(self, tmp_path: Path) -> None:
        transformers = pytest.importorskip("transformers")
        ours = VideoMAEImageProcessor(size=40, crop_size=32, sampling={"num_frames": 8}, **cases.IMAGENET)
        ours.save_pretrained(tmp_path)
        theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)
        assert type(theirs).__name__.startswith("VideoMAEImageProcessor")
        frames = cases.frames_of(48, 80, num_frames=2)
        kept = VideoMAEImageProcessor.from_pretrained(tmp_path)(frames, return_tensors="np").pixel_values
        other = theirs(frames, return_tensors="np")["pixel_values"]
        options = {"size": 40, "crop_size": 32, **cases.IMAGENET}
        assert_near(cases.levels_of(kept, frames, options), cases.levels_of(other, frames, options))
        theirs.save_pretrained(tmp_path / "again")
        back = VideoMAEImageProcessor.from_pretrained(tmp_path / "again")
        assert (back.size, back.crop_size, back.sampling) == (ours.size, ours.crop_size, {"num_frames": 8})
        assert back.image_mean == ours.image_mean


class TestBatchFeature:
    def test_mapping_with_attributes(self) -> None:
        inputs = BatchFeature(pixel_values=torch.zeros(2, 3))
        assert inputs.pixel_values is inputs["pixel_values"]
        assert {**inputs}.keys() == {"pixel_values"}
        assert (lambda pixel_values: pixel_values.shape)(**inputs) == (2, 3)
        inputs.labels = torch.arange(2)
        assert list(inputs) == ["pixel_values", "labels"]
        with pytest.raises(AttributeError, match="has no 'input_ids'; it has pixel_values, labels"):
            inputs.input_ids  # noqa: B018
        for twin in (pickle.loads(pickle.dumps(inputs)), copy.deepcopy(inputs)):
            assert type(twin) is BatchFeature
            assert torch.equal(twin.labels, inputs.labels)

    def test_to(self) -> None:
        def fresh() -> BatchFeature:
            return BatchFeature(pixel_values=torch.zeros(2), labels=torch.arange(2))

        for moved in (
            fresh().to("meta", torch.float16),
            fresh().to(torch.device("meta"), dtype=torch.float16),
            fresh().to(device="meta", dtype=torch.float16, non_blocking=True),
        ):
            assert moved.pixel_values.dtype == torch.float16
            assert moved.pixel_values.device.type == moved.labels.device.type == "meta"
            assert moved.labels.dtype == torch.int64
        inputs = fresh()
        assert inputs.to(torch.bfloat16) is inputs
        assert inputs.pixel_values.dtype == torch.bfloat16
        assert inputs.labels.device.type == "cpu"
        with pytest.raises(ShapeError, match='return_tensors="pt"'):
            BatchFeature(pixel_values=np.zeros(2)).to("cpu")


def _bad_inputs() -> dict[str, object]:
    frame = np.zeros((20, 30, 3), dtype=np.uint8)
    return {
        "nothing": None,
        "a number": 7,
        "a file name": "clip.mp4",
        "a path": Path("clip.mp4"),
        "bytes": b"\x00\x01",
        "an empty list": [],
        "an empty video": [[frame], []],
        "nested numbers": [[1, 2], [3, 4]],
        "a generator": (frame for _ in range(2)),
        "a dictionary": {"frames": [frame]},
        "frames and lists": [frame, [frame]],
        "frames and clips": [frame, frame[None]],
        "two dimensions": frame[:, :, 0],
        "six dimensions": frame[None, None, None],
        "a list of batches": [frame[None, None]],
        "clips in a list in a list": [[frame[None]]],
        "no frames": frame[None][:0],
        "no pixels": frame[:0],
        "channels before time": np.zeros((3, 16, 20, 30), dtype=np.uint8),
        "five channels": np.zeros((20, 30, 5), dtype=np.uint8),
        "text values": np.full((20, 30, 3), "x"),
        "complex values": frame.astype(np.complex64),
        "objects": np.full((20, 30, 3), None),
        "not a number": np.full((20, 30, 3), np.nan, dtype=np.float32),
        "infinite": np.full((20, 30, 3), np.inf),
        "negative": frame.astype(np.int64) - 1,
        "too large": np.full((20, 30, 3), 1023, dtype=np.uint16),
        "normalized already": np.linspace(-2, 2, 1800).reshape(20, 30, 3),
        "fractions above one": np.linspace(0, 254.5, 1800).reshape(20, 30, 3),
        "a palette image": Image.new("P", (30, 20)),
        "an image with alpha": Image.new("RGBA", (30, 20)),
        "videos of two lengths": [[frame], [frame, frame]],
    }


@pytest.mark.parametrize("name", _bad_inputs())
def test_bad_input_gets_one_clear_line(name: str) -> None:
    with pytest.raises(ShapeError) as caught:
        VideoMAEImageProcessor(**SMALL)(_bad_inputs()[name], return_tensors="pt")
    text = str(caught.value)
    assert "\n" not in text
    assert ": expected " in text
    assert "; " in text
    assert len(text) < 300


def test_random_structures_never_crash() -> None:
    """Whatever is put in a list, the answer is a result or one of our errors."""
    random = np.random.default_rng(0)
    good = [np.zeros((20, 30, 3), dtype=np.uint8), torch.zeros(3, 20, 30), Image.new("RGB", (30, 20))]
    pool = [*good, *(value for name, value in _bad_inputs().items() if name != "a generator")]
    errors: list[str] = []
    num_results = 0
    for _ in range(400):
        source = good if random.random() < 0.3 else pool
        items = [source[i] for i in random.integers(0, len(source), random.integers(1, 4))]
        if random.random() < 0.4:
            items = [items, [source[int(random.integers(len(source)))]]]
        try:
            result = VideoMAEImageProcessor(**SMALL)(items, return_tensors="np").pixel_values
        except InputError as error:
            errors.append(str(error))
        else:
            num_results += 1
            assert result.shape[2:] == (3, 32, 32)
            assert np.isfinite(result).all()
    assert num_results > 30
    assert len(errors) > 100
    assert not any("\n" in error for error in errors)
