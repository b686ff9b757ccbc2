"""The web page: layout only. Run it with `deepfake-tf app`, or `streamlit run streamlit_app/app.py`.

Whatever comes from a file or from the server is shown with `st.text`, which reads neither HTML nor Markdown.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import drawing
import scoring
import streamlit as st

from deepfake_tf import provenance
from deepfake_tf.contract import VERDICT_GENERATED, VERDICT_REAL, VERDICT_UNCERTAIN, Explanation, Prediction
from deepfake_tf.output.tables import format_predictions
from deepfake_tf.reading.formats import IMAGE_EXTENSIONS, TRANSCODED_EXTENSIONS
from deepfake_tf.text import plural, printable

CARDS = 6  # images shown at once; of more, one is chosen
HEADINGS = {
    VERDICT_GENERATED: ":material/auto_awesome: Likely generated",
    VERDICT_REAL: ":material/photo_camera: Likely real",
    VERDICT_UNCERTAIN: ":material/help: Uncertain",
}
OUT_OF_DOMAIN = "out of domain"


@dataclasses.dataclass(frozen=True)
class Upload:
    name: str
    encoded: bytes


def main() -> None:
    st.set_page_config(page_title="Real or generated?", page_icon=":material/image_search:", layout="centered")
    st.title("Real or generated?")
    st.write("Drop images to see whether a neural network takes them for photographs or for AI-generated ones.")
    uploads = choose_images()
    if uploads:
        explanations, error = score(uploads)
        if error is not None:
            show_error(error, len(explanations), len(uploads))
        if explanations:
            show_results(uploads, explanations)
    show_about()


def choose_images() -> list[Upload]:
    # New keys empty the widgets, which is the only way to clear an uploader.
    turn = st.session_state.setdefault("turn", 0)
    files = st.file_uploader(
        "Images: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC",
        type=[extension[1:] for extension in IMAGE_EXTENSIONS + TRANSCODED_EXTENSIONS],
        accept_multiple_files=True,
        key=f"files_{turn}",
    )
    uploads = [Upload(file.name, file.getvalue()) for file in files]
    if (samples := scoring.load_samples()) and (
        chosen := st.pills("Or try a sample photograph", list(samples), selection_mode="multi", key=f"samples_{turn}")
    ):
        uploads += [Upload(name, samples[name]) for name in chosen]
    if st.toggle("Use the camera", key=f"camera_on_{turn}"):
        shot = st.camera_input("Take a picture", key=f"camera_{turn}")
        if shot is not None:
            uploads.append(Upload(shot.name, shot.getvalue()))
    if uploads:
        st.button("Clear all", icon=":material/delete:", on_click=clear)
    show_small(
        ":material/lock: Images are not stored: they stay in memory while this page is open, and go to the model "
        "server alone."
    )
    return uploads


def clear() -> None:
    st.session_state["turn"] += 1


def score(uploads: list[Upload]) -> tuple[list[Explanation], Exception | None]:
    """What was scored, in order, up to the first error of the server."""
    url = scoring.server_url()
    explanations: list[Explanation] = []
    bar = st.progress(0.0, "Scoring")
    try:
        for number, upload in enumerate(uploads, start=1):
            explanations.append(scoring.explain(url, upload.name, upload.encoded))
            bar.progress(number / len(uploads), f"Scored {number} of {len(uploads)}")
    except (OSError, ValueError, ImportError) as error:
        return explanations, error
    finally:
        bar.empty()
    return explanations, None


def show_error(error: Exception, done: int, wanted: int) -> None:
    st.error(scoring.advice(error), icon=":material/cloud_off:")
    if done:
        st.write(f"{done} of {plural(wanted, 'image')} {'was' if done == 1 else 'were'} scored before that.")
    st.button("Retry", icon=":material/refresh:", type="primary")
    with st.expander("Details for whoever runs the server"):
        st.text(printable(str(error)))


def show_results(uploads: list[Upload], explanations: list[Explanation]) -> None:
    shown = range(len(explanations))
    if len(explanations) > 1:
        show_table([explanation.prediction for explanation in explanations])
    if len(explanations) > CARDS:
        names = [f"{index + 1}: {printable(explanations[index].prediction.file)}" for index in shown]
        chosen = st.selectbox("Image to look at", shown, format_func=names.__getitem__)
        shown = range(chosen, chosen + 1)
    for index in shown:
        with st.container(border=True):
            show_card(index, uploads[index], explanations[index])
    predictions = [explanation.prediction for explanation in explanations]
    csv, json = st.columns(2)
    # "ignore": the download is ready, and scoring need not run again for it.
    csv.download_button(
        "Download CSV",
        format_predictions(predictions, "csv").encode("utf-8"),
        "predictions.csv",
        "text/csv",
        on_click="ignore",
        width="stretch",
    )
    json.download_button(
        "Download JSON",
        format_predictions(predictions, "json").encode("utf-8"),
        "predictions.json",
        "application/json",
        on_click="ignore",
        width="stretch",
    )


def show_table(predictions: list[Prediction]) -> None:
    counts = Counter(standing(prediction) for prediction in predictions)
    st.write(
        f"**{plural(len(predictions), 'image')}:** " + ", ".join(f"{count} {name}" for name, count in counts.items())
    )
    rows = [
        {
            "file": printable(prediction.file),
            "verdict": standing(prediction),
            # No number where it means nothing.
            "generated": prediction.probability if prediction.in_domain and not prediction.error else None,
            "detector": prediction.detector,
            "size": f"{prediction.width} x {prediction.height}" if prediction.width else "",
            "why": prediction.error or prediction.reason,
        }
        for prediction in predictions
    ]
    percentage = st.column_config.NumberColumn("generated", format="percent", help="probability, after calibration")
    st.dataframe(rows, hide_index=True, column_config={"generated": percentage})


def standing(prediction: Prediction) -> str:
    if prediction.error:
        return "no score"
    return prediction.verdict if prediction.in_domain else OUT_OF_DOMAIN


def show_card(index: int, upload: Upload, explanation: Explanation) -> None:
    prediction = explanation.prediction
    st.text(printable(upload.name))
    if prediction.error:
        st.subheader(":material/broken_image: No score")
        st.text(f"Why: {printable(prediction.error)}")
        show_evidence(upload, prediction)  # a file that cannot be scored still has its own word
        return
    if prediction.in_domain:
        show_verdict(index, upload, explanation)
    else:
        show_out_of_domain(upload, prediction)
    show_evidence(upload, prediction)


def show_out_of_domain(upload: Upload, prediction: Prediction) -> None:
    st.subheader(":material/block: The model cannot judge this image")
    st.warning("It is unlike the images that the model was trained on, so that its answer would mean nothing.")
    st.text(f"Why: {printable(prediction.reason)}")
    show_training_data()
    show_picture(upload, "The image.")
    st.write("What can still be said is what the file itself claims:")


def show_verdict(index: int, upload: Upload, explanation: Explanation) -> None:
    prediction = explanation.prediction
    threshold, band = scoring.decision(scoring.load_card())
    st.subheader(HEADINGS.get(prediction.verdict, HEADINGS[VERDICT_UNCERTAIN]))
    if prediction.verdict == VERDICT_UNCERTAIN:
        st.write("The probability is too close to the threshold to say.")
    st.image(
        drawing.draw_gauge(prediction.probability, threshold, band),
        width="stretch",
        alt=drawing.describe_gauge(prediction.probability, threshold, band),
    )
    before, after = st.columns(2)
    with before:
        show_picture(upload, "The image.")
    with after:
        opacity = st.session_state.get(f"opacity_{index}", 50) / 100
        picture = drawing.draw_picture(upload.encoded, explanation.heatmap, opacity)
        if picture is not None:
            st.image(picture, width="stretch", alt="The image with the network's heat map over it.")
        st.slider("Opacity of the heat map, in percent", 0, 100, 50, key=f"opacity_{index}")
    show_small(
        f"Bright regions spoke for “{prediction.label}”. The map (Grad-CAM) is coarse: it shows where the network "
        "found its evidence, not which pixels were generated, and it proves nothing."
    )


def show_picture(upload: Upload, alternative: str) -> None:
    picture = drawing.draw_picture(upload.encoded)
    if picture is None:
        st.write("This image cannot be shown.")
    else:
        st.image(picture, width="stretch", alt=alternative)


def show_evidence(upload: Upload, prediction: Prediction) -> None:
    report = scoring.inspect(upload.encoded)
    width, height = (prediction.width, prediction.height) if prediction.width else (report.width, report.height)
    if report.format:
        st.text(f"{report.format}, {width} x {height} pixels, {len(upload.encoded) / 1024:,.0f} KiB")
    pixels = None if prediction.error else standing(prediction)
    st.text(provenance.summarise(report, pixels))
    if report.findings:
        with st.expander("What the file claims"):
            show_small("Anybody can write such claims into a file; only a signature by a known party weighs more.")
            for finding in report.findings:
                raw = f"\n    {finding.raw}" if finding.raw else ""
                st.text(f"{finding.source} ({finding.strength}): {finding.statement}{raw}")


def show_about() -> None:
    with st.expander("About the model, and its limits"):
        card = scoring.load_card()
        metrics = card.get("validation_metrics", {})
        if card.get("model"):
            version = card.get("versions", {}).get("deepfake_tf", "unknown")
            exported = card.get("exported", "at no known date")
            st.text(f"Network: {card['model']}, of deepfake-tf {version}, exported {exported}")
        show_training_data()
        for name in ("accuracy", "roc_auc"):
            if isinstance(value := metrics.get(name), dict):
                words = {"accuracy": "Accuracy", "roc_auc": "Area under the ROC curve"}[name]
                st.text(f"{words} on held-out images: {value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})")
        if not metrics:
            st.write("The card of the model that ships is not at hand, so that no figures can be given here.")
        else:
            show_small("From the card of the model that ships; a server elsewhere may have another. 95 % intervals.")
        if plot := scoring.load_robustness_plot():
            st.image(plot, width="stretch", alt="Accuracy on images that were compressed, blurred, scaled and so on.")
        st.markdown(
            "- A verdict is a probability, not a proof. Do not accuse anybody on its strength.\n"
            "- The model knows images like those of its training data. Generators that came later, full-size "
            "photographs and edited pictures are mostly outside.\n"
            "- Saving, scaling and filtering an image change what the model sees, and can change its verdict."
        )


def show_training_data() -> None:
    card = scoring.load_card()
    if counts := card.get("data", {}).get("training"):
        sides = card.get("domain", {}).get("sides_seen_in_training")
        size = f", {' to '.join(map(str, sorted(set(sides))))} pixels a side" if sides else ""
        st.text(f"Trained on: {describe_counts(counts)}{size}")


def show_small(words: str) -> None:
    """Streamlit's captions are too pale for a contrast of 4.5:1."""
    st.markdown(f":small[{words}]")


def describe_counts(counts: dict) -> str:
    words = [f"{count:,} {name}" if isinstance(count, int) else f"{name} {count}" for name, count in counts.items()]
    return ", ".join(words)


main()
