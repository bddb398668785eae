"""Prints, for a network of each task, how many graphs it is compiled to and how far its numbers are from plain ones.

A program of its own, because the shape checks of the tests would break the graphs. The compiler only traces, so that no
C++ compiler is needed.
"""

import json
from typing import Any

import torch
from torch._dynamo.backends.registry import lookup_backend

from videomae import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, tube_mask
from videomae.training.compiling import whole_network

CONFIG = VideoMAEConfig(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=2,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=32,
    image_size=32,
    num_frames=4,
    num_labels=3,
)


def main() -> None:
    graphs: list[int] = []
    compile_ = torch.compile

    def traced(graph: Any, inputs: Any) -> Any:
        graphs.append(len(graph.graph.nodes))
        return lookup_backend("aot_eager")(graph, inputs)

    torch.compile = lambda model, *, mode=None, **options: compile_(model, backend=traced, **options)
    found = {}
    for task in ("pretraining", "dual", "classification"):
        graphs.clear()
        found[task] = {"difference": difference(task), "graphs": len(graphs)}
    print(json.dumps(found))


def difference(task: str) -> float:
    """The largest difference of losses and gradients, of whole batches and of a smaller one."""
    torch.manual_seed(0)
    is_classifier = task == "classification"
    model: Any = (VideoMAEForVideoClassification if is_classifier else VideoMAEForPreTraining)(CONFIG).train()
    names = list(model.state_dict())
    clips, masks = torch.randint(256, (3, 4, 3, 32, 32), dtype=torch.uint8), {}
    if is_classifier:
        clips = clips.float() / 255
    else:
        masks["bool_masked_pos"] = tube_mask(3, CONFIG.grid.shape, 0.5, generator=torch.Generator().manual_seed(1))
    if task == "dual":
        masks["decoder_masked_pos"] = torch.tensor([[False, True] * 4] * 3)

    def numbers(network: Any, num_clips: int) -> list[torch.Tensor]:
        output = network(clips[:num_clips], **{name: mask[:num_clips] for name, mask in masks.items()})
        loss = output.logits.square().mean() if is_classifier else output.loss
        return [loss, *torch.autograd.grad(loss, list(model.parameters()))]

    plain = {num_clips: numbers(model, num_clips) for num_clips in (3, 2)}
    network = whole_network(model, 3, cuda_graphs=True)
    differences = []
    for num_clips in (3, 2, 3):
        pairs = zip(plain[num_clips], numbers(network, num_clips), strict=True)
        differences += [(a - b).abs().max().item() for a, b in pairs]
    assert list(model.state_dict()) == names
    return max(differences)


if __name__ == "__main__":
    main()
