"""A custom runtime of MLServer, as its documentation shows them, that calls onnxruntime."""

from __future__ import annotations

import model_call
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, NumpyRequestCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        self.probabilities = model_call.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = self.decode_request(payload, default_codec=NumpyRequestCodec)
        output = NumpyCodec.encode_output(name="predict_proba", payload=self.probabilities(rows))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
