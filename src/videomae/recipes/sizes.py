"""The network sizes, as keywords for `VideoMAEConfig`."""

from __future__ import annotations

from typing import Any

from videomae.core.errors import ConfigError


def _size(
    width: int, depth: int, heads: int, decoder_width: int, decoder_depth: int, decoder_heads: int
) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "decoder_hidden_size": decoder_width,
        "decoder_num_hidden_layers": decoder_depth,
        "decoder_num_attention_heads": decoder_heads,
        "decoder_intermediate_size": 4 * decoder_width,
    }


# small to huge: VideoMAE (Tong et al. 2022) and its published weights; giant: VideoMAE V2 (Wang et al. 2023, table 1).
# tiny is ours, for clips of 32–64 pixels, demonstrations and tests.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {**_size(128, 4, 4, 128, 1, 4), "patch_size": 8},
    "small": _size(384, 12, 6, 192, 4, 3),
    "base": _size(768, 12, 12, 384, 4, 6),
    "large": _size(1024, 24, 16, 512, 12, 8),
    "huge": _size(1280, 32, 16, 640, 12, 8),
    "giant": {
        **_size(1408, 40, 16, 512, 4, 8),
        "patch_size": 14,
        "intermediate_size": 6144,
        "decoder_intermediate_size": 2234,
    },
}


def size_keywords(name: str) -> dict[str, Any]:
    """The keywords of the size `name`.

    Raises:
        ConfigError: if there is no such size.
    """
    if name not in SIZES:
        raise ConfigError(f"size {name!r}", expected=" or ".join(SIZES), hint="small fits one GPU and a few clips")
    return dict(SIZES[name])


def require_size(name: str | None, network: object) -> None:
    """Raise a ConfigError if a checkpoint's `network` (its configuration) is not of the size asked for.

    Args:
        name: the size; None asks for none.
        network: has the attributes of `VideoMAEConfig`.
    """
    encoder = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    wanted = {key: value for key, value in size_keywords(name).items() if key in encoder} if name else {}
    for key, value in wanted.items():
        if getattr(network, key) != value:
            raise ConfigError(
                f"size {name!r} with a checkpoint of {key}={getattr(network, key)}",
                expected="the checkpoint's own size",
                hint="leave --size out, the checkpoint brings its network; or take the --recipe of its size",
            )
