"""The engines that `Detector` has, by name. Imports nothing: the command line prints them as help."""

ENGINE_CLASSES = {  # engine -> what it needs, the extra that brings that, its module and class
    "saved_model": ("tensorflow", "full", "saved_model", "SavedModelEngine"),
    "litert": ("ai_edge_litert", "lite", "litert", "LiteRTEngine"),
    "openvino": ("openvino", "openvino", "openvino", "OpenVINOEngine"),
}
ENGINES = ("auto", *ENGINE_CLASSES)
