"""Trains a small network on made-up machines, seeded, and exports it as model.pt2, for any number of rows."""

import pathlib

import torch


class Wear(torch.nn.Module):
    """A classifier that answers a label and the probability of wear."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    def forward(self, machine):
        probability = torch.sigmoid(self.layers(machine)).squeeze(-1)
        return (probability > 0.5).long(), probability


torch.manual_seed(4)
torch.set_num_threads(1)
machines = torch.randn(2_000, 3)  # temperature, vibration, hours: all standardized
worn = (machines @ torch.tensor([0.5, 1.5, 1.0]) + 0.2 * torch.randn(2_000) > 0.8).float()
model = Wear()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(200):
    optimizer.zero_grad()
    torch.nn.functional.binary_cross_entropy(model(machines)[1], worn).backward()
    optimizer.step()

model.eval()
rows = torch.export.Dim("rows")
exported = torch.export.export(model, (machines[:2],), dynamic_shapes={"machine": {0: rows}})
torch.export.save(exported, "model.pt2")
print(pathlib.Path("model.pt2").stat().st_size, "bytes")
