import pytest

from deepfake_tf.engines.tensorflow_messages import without_node_names


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Invalid PNG data\n\t [[{{function_node __inference_serve_290}}{{node map/slice}}]]", "Invalid PNG data"),
        ("Invalid [[{{node a/b}}]]\n\t [[StatefulPartitionedCall/_3]]", "Invalid"),
        ("{{function_node __wrapped__DecodePng_device_/job:localhost/CPU:0}} Invalid [Op:DecodePng] name: ", "Invalid"),
        (
            "Graph execution error:\n\nDetected at node map/x defined at (most recent call last):\n"
            "<stack traces unavailable>\nInvalid\n\t [[{{node map/x}}]] [Op:__inference_signature_wrapper_<lambda>_12]",
            "Invalid",
        ),
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT: bad\n\t [[{{node a}}]]\n  (1) INVALID_ARGUMENT: bad\n"
            "\t [[{{node a}}]]\n0 successful operations.",
            "INVALID_ARGUMENT: bad",
        ),
        ("Expecting only one ", "Expecting only one "),
        ('JSON Value: [[1, 2], {"a": [["x"]]}] Is not object', 'JSON Value: [[1, 2], {"a": [["x"]]}] Is not object'),
    ],
)
def test_what_is_taken_out(message, expected):
    assert without_node_names(message) == expected
