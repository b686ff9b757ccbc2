"""What `serve` and `app` can start, by name. Imports nothing: the command line prints them as help."""

ENGINES = ("auto", "tensorflow_model_server", "docker", "local")
