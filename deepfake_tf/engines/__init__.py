"""`Detector`, and what runs a model for it: TensorFlow, LiteRT, OpenVINO, a server."""
