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
from deepfake_tf.detectors.registry import DETECTORS, sees_central_square
from deepfake_tf.output.tables import format_predictions
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
    show_small(
        f"Can be judged: {scoring.what_can_be_judged()}. Cannot be judged: other sizes, screenshots, scans, drawings."
    )
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
        # Any file may come: one that is no image becomes a row with its reason, not an icon that a mouse must find.
        "Images: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC",
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
            "why": printable(prediction.error or prediction.reason),
        }
        for prediction in predictions
    ]
    percentage = st.column_config.NumberColumn(
        "P(generated)", format="percent", help=f"{drawing.NUMBER}, after calibration"
    )
    st.dataframe(rows, hide_index=True, column_config={"generated": percentage}, placeholder="-")
    if refused := [prediction for prediction in predictions if prediction.error]:
        st.text(  # in the table a long reason is cut off
            "\n".join(["Without a score:", *(printable(f"{row.file}: {row.error}") for row in refused)])
        )


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
    if scoring.is_of_another_detector(prediction):
        st.write("There is a detector for images of this size, but the server that answered does not have it.")
    else:
        st.write(f"Can be judged: {scoring.what_can_be_judged()}.")
    if card := scoring.card_of(prediction):
        show_training_data(card)
    show_picture(upload, "The image.")
    st.write("What can still be said is what the file itself claims:")


def show_verdict(index: int, upload: Upload, explanation: Explanation) -> None:
    prediction = explanation.prediction
    card = scoring.card_of(prediction)
    threshold, band = scoring.decision(card)
    st.subheader(HEADINGS.get(prediction.verdict, HEADINGS[VERDICT_UNCERTAIN]))
    st.write(describe_verdict(prediction, threshold, band))
    gauge = (prediction.probability, threshold, band)
    st.image(
        drawing.draw_gauge(*gauge, dark=st.context.theme.type == "dark"),
        width="stretch",
        alt=drawing.describe_gauge(*gauge),
    )
    if not card:
        show_small("Where this server's model draws its lines is not known here: its card is not at hand.")
    before, after = st.columns(2)
    with before:
        show_picture(upload, "The image.")
    with after:
        opacity = st.session_state.get(f"opacity_{index}", 50) / 100
        picture = drawing.draw_picture(upload.encoded, explanation.heatmap, opacity, prediction.detector)
        if picture is not None:
            st.image(picture, width="stretch", alt="The image with the network's heat map over it.")
        st.slider("Opacity of the heat map, in percent", 0, 100, 50, key=f"opacity_{index}")
    square = " It is of the central square, which is all that this detector looks at."
    show_small(
        f"Bright regions spoke for “{prediction.label}”. The map is coarse: it shows where the network "
        "found its evidence, not which pixels were generated, and it proves nothing."
        + (square if sees_central_square(prediction.detector) else "")
    )


def describe_verdict(prediction: Prediction, threshold: float | None, band: tuple[float, float] | None) -> str:
    """The percentage, and why it makes this verdict; in Markdown, without a word from outside."""
    number = f"{drawing.NUMBER}: **{drawing.format_probability(prediction.probability)}**"
    if prediction.verdict == VERDICT_UNCERTAIN:
        where = f", {drawing.format_band(band)}," if band else ""
        return f"{number}. That lies in the uncertain band{where} where the model errs too often to say."
    if band:
        bound = f"below {band[0]:.1%}" if prediction.verdict == VERDICT_REAL else f"above {band[1]:.1%}"
        return f"{number}. The model says “{prediction.verdict}” {bound}."
    return f"{number}."


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
        size = f"{width} x {height} pixels" if width else "size unknown"
        st.text(f"{report.format}, {size}, {len(upload.encoded) / 1024:,.1f} KiB")
    pixels = None if prediction.error else standing(prediction)
    st.text(provenance.summarise(report, pixels))
    if report.findings:
        with st.expander("What the file claims"):
            show_small("Anybody can write such claims into a file; only a signature by a known party weighs more.")
            for finding in report.findings:
                raw = f"\n    {finding.raw}" if finding.raw else ""
                st.text(f"{finding.source} ({finding.strength}): {finding.statement}{raw}")


def show_about() -> None:
    with st.expander("About the models, and their limits"):
        cards = scoring.load_cards()
        for name, card in cards.items():
            show_model(name, card)
        if cards:
            show_small(
                "From the cards of the models that ship, or of `DEEPFAKE_TF_MODEL`; a server elsewhere may have "
                "others. In brackets: 95 % intervals."
            )
        else:
            st.write("The card of the model that ships is not at hand, so that no figures can be given here.")
        if plot := scoring.load_robustness_plot():
            st.image(plot, width="stretch", alt="Accuracy on images that were compressed, blurred, scaled and so on.")
            show_small("Of the detector for small images.")
        st.markdown(
            "- A verdict is a probability, not a proof. Do not accuse anybody on its strength.\n"
            "- A model knows images like those of its training data. Generators that came later and edited pictures "
            "are mostly outside.\n"
            "- Saving, scaling and filtering an image change what the model sees, and can change its verdict."
        )


def show_model(name: str, card: dict) -> None:
    judges = f", for {DETECTORS[name].judges}" if name in DETECTORS else ""
    st.text(f"Detector {name}{judges}")
    network = card.get("model") or card.get("network", {}).get("name")
    if network:
        version = card.get("versions", {}).get("deepfake_tf")
        release = f", of deepfake-tf {version}" if version else ""
        exported = card.get("exported") or card.get("date") or "at no known date"
        st.text(f"Network: {network}{release}, exported {exported}")
    show_training_data(card)
    metrics = card.get("validation_metrics", {})
    for metric, words in (("accuracy", "Accuracy"), ("roc_auc", "Area under the ROC curve")):
        if isinstance(value := metrics.get(metric), dict):
            st.text(f"{words} on held-out images: {value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})")
    if out_of_fold := card.get("out_of_fold"):
        st.text(f"Area under the ROC curve on sources held out of training: {out_of_fold['auc']:.2f}")
        for kind in ("real", "generated"):
            shares = out_of_fold[kind]
            verdicts = (VERDICT_GENERATED, VERDICT_UNCERTAIN, VERDICT_REAL)
            words = ", ".join(f"{shares[verdict.replace(' ', '_')]:.1%} {verdict}" for verdict in verdicts)
            st.text(f"Of {shares['images']:,} {kind} images: {words}")


def show_training_data(card: dict) -> None:
    if counts := card.get("data", {}).get("training") or card.get("training", {}).get("images"):
        sides = card.get("domain", {}).get("sides_seen_in_training")
        size = f", {' to '.join(map(str, sorted(set(sides))))} pixels a side" if sides and None not in sides else ""
        st.text(f"Trained on: {describe_counts(counts)}{size}")


def show_small(words: str) -> None:
    """Streamlit's captions are too pale for a contrast of 4.5:1."""
    st.markdown(f":small[{words}]")


def describe_counts(counts: dict) -> str:
    words = [f"{count:,} {name}" if isinstance(count, int) else f"{name} {count}" for name, count in counts.items()]
    return ", ".join(words)


main()
