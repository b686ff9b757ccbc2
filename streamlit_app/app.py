"""The web page: layout only. Run it with `deepfake-tf app`, or `streamlit run streamlit_app/app.py`.

Whatever comes from a file or from the server is shown with `st.text`, which reads neither HTML nor Markdown.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import drawing
import scoring
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from deepfake_tf.conclusion import NONE, conclude
from deepfake_tf.contract import VERDICT_GENERATED, VERDICT_REAL, VERDICT_UNCERTAIN, Prediction
from deepfake_tf.detectors.bundle import describe_network, threshold_and_band
from deepfake_tf.detectors.registry import DETECTORS, sees_central_square
from deepfake_tf.output.heatmaps import draw_picture
from deepfake_tf.output.html_report import SIDE_NAMES, Answer, format_report
from deepfake_tf.output.tables import format_predictions
from deepfake_tf.text import format_band, format_probability, plural, printable

CARDS = 6  # images shown at once; of more, one is chosen
ICONS = {"generated": "auto_awesome", "real": "photo_camera", "conflict": "balance", "unknown": "help"}


@dataclasses.dataclass(frozen=True)
class Upload:
    name: str
    encoded: bytes


def main() -> None:
    st.set_page_config(page_title="Real or generated?", page_icon=":material/image_search:", layout="centered")
    st.title("Real or generated?")
    introduction = st.container()  # which makes room for the results
    # New keys empty the widgets, which is the only way to clear an uploader.
    turn = st.session_state.setdefault("turn", 0)
    files = st.file_uploader(
        # Any file may come: one that is no image becomes a row with its reason, not an icon that a mouse must find.
        "Images: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC",
        accept_multiple_files=True,
        key=f"files_{turn}",
    )
    results = st.container()  # above the samples, which are needed to fill it
    uploads = [Upload(file.name, file.getvalue()) for file in files] + choose_more(turn, expanded=not files)
    show_small(
        ":material/lock: Images are not stored: they stay in memory while this page is open, and go to the model "
        "server alone."
    )
    if not uploads:
        with introduction:
            st.write("Drop a picture to see what speaks for a photograph, and what for an AI-generated image.")
            show_small(
                f"Can be judged: {scoring.what_can_be_judged()}. Cannot be judged: other sizes, screenshots, scans, "
                "drawings."
            )
    else:
        with results:
            answers, error = answer(uploads)
            if error is not None:
                show_error(error, len(answers), len(uploads))
            if answers:
                show_results(answers)
            st.button("Clear all", icon=":material/delete:", on_click=clear)
    show_about()


def choose_more(turn: int, expanded: bool) -> list[Upload]:
    """Sample photographs, and the camera."""
    uploads = []
    with st.expander("No picture at hand? Sample photographs, or the camera", expanded=expanded):
        if (samples := scoring.load_samples()) and (
            chosen := st.pills("Sample photographs", list(samples), selection_mode="multi", key=f"samples_{turn}")
        ):
            uploads += [Upload(name, samples[name]) for name in chosen]
        if st.toggle("Use the camera", key=f"camera_on_{turn}"):
            shot = st.camera_input("Take a picture", key=f"camera_{turn}")
            if shot is not None:
                uploads.append(Upload(shot.name, shot.getvalue()))
    return uploads


def clear() -> None:
    turn = st.session_state["turn"]
    shot = st.session_state.get(f"camera_{turn}")
    # With the widgets alone, Streamlit would keep their files until the page is closed.
    context = get_script_run_ctx()
    for file in [*st.session_state.get(f"files_{turn}", []), *([shot] if shot else [])]:
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)
    st.session_state["turn"] = turn + 1


def answer(uploads: list[Upload]) -> tuple[list[Answer], Exception | None]:
    """What was scored, in order, up to the first error of the server."""
    url = scoring.server_url()
    answers: list[Answer] = []
    bar = st.progress(0.0, "Scoring")
    try:
        for number, upload in enumerate(uploads, start=1):
            explanation = scoring.explain(url, upload.name, upload.encoded)
            report = scoring.inspect(upload.encoded)
            card = scoring.card_of(explanation.prediction)
            conclusion = conclude(explanation.prediction, report, card)
            answers.append(Answer(upload.name, upload.encoded, explanation, report, conclusion, card))
            bar.progress(number / len(uploads), f"Scored {number} of {len(uploads)}")
    except (OSError, ValueError, ImportError) as error:
        return answers, error
    finally:
        bar.empty()
    return answers, None


def show_error(error: Exception, done: int, wanted: int) -> None:
    st.error(scoring.advice(error), icon=":material/cloud_off:")
    if done:
        st.write(f"{done} of {plural(wanted, 'image')} {'was' if done == 1 else 'were'} scored before that.")
    st.button("Retry", icon=":material/refresh:", type="primary")
    with st.expander("Details for whoever runs the server"):
        st.text(printable(str(error)))


def show_results(answers: list[Answer]) -> None:
    shown = answers
    if len(answers) > 1:
        shown = show_table(answers)
    if len(shown) > CARDS:
        names = [f"{number}: {printable(answer.prediction.file)}" for number, answer in enumerate(shown, start=1)]
        chosen = st.selectbox("Image to look at", range(len(shown)), format_func=names.__getitem__)
        shown = shown[chosen : chosen + 1]
    for answer in shown:
        with st.container(border=True):
            show_card(answers.index(answer), answer)
    predictions = [answer.prediction for answer in answers]
    conclusions = [answer.conclusion.to_row() for answer in answers]
    report, *tables = st.columns(3)
    # "ignore": scoring need not run again for a download.
    report.download_button(
        "Download report",
        lambda: format_report(answers),  # made when it is asked for
        "report.html",
        "text/html",
        on_click="ignore",
        width="stretch",
        help="One page to keep or to print: pictures, conclusions, what each witness says",
    )
    for column, row_format, mime in zip(tables, ("csv", "json"), ("text/csv", "application/json")):
        column.download_button(
            f"Download {row_format.upper()}",
            format_predictions(predictions, row_format, conclusions).encode("utf-8"),
            f"predictions.{row_format}",
            mime,
            on_click="ignore",
            width="stretch",
        )


def show_table(answers: list[Answer]) -> list[Answer]:
    """The table, and which of the answers were chosen by it."""
    counts = Counter(answer.conclusion.side for answer in answers)
    words = [f"{SIDE_NAMES[side]} {count}" for side, count in counts.items()]
    if refused := [answer.prediction for answer in answers if answer.prediction.error]:
        words.append(f"Without a score {len(refused)}")
    st.write(f"**{plural(len(answers), 'image')}:** " + ", ".join(words))
    if len(counts) > 1:
        sides = st.pills("Show only", list(counts), selection_mode="multi", format_func=SIDE_NAMES.__getitem__)
        answers = [answer for answer in answers if not sides or answer.conclusion.side in sides]
    rows = [
        {
            "file": printable(answer.prediction.file),
            "conclusion": answer.conclusion.sentence,
            "rests on": answer.conclusion.witness.replace("_", " ") if answer.conclusion.witness != NONE else None,
            # No number where it means nothing.
            "generated": answer.prediction.probability if answer.has_number else None,
            "detector": answer.prediction.detector,
            "size": f"{answer.prediction.width} x {answer.prediction.height}" if answer.prediction.width else "",
            "why": printable(answer.prediction.error or answer.prediction.reason),
        }
        for answer in answers
    ]
    percentage = st.column_config.NumberColumn(
        "P(generated)", format="percent", help=f"{drawing.NUMBER}, after calibration"
    )
    st.dataframe(rows, hide_index=True, column_config={"generated": percentage}, placeholder="-")
    if refused:
        st.text(  # in the table a long reason is cut off
            "\n".join(["Without a score:", *(printable(f"{row.file}: {row.error}") for row in refused)])
        )
    return answers


def show_card(index: int, answer: Answer) -> None:
    prediction, conclusion = answer.prediction, answer.conclusion
    st.text(printable(answer.name))
    st.subheader(f":material/{ICONS[conclusion.side]}: {conclusion.sentence}")
    show_pictures(index, answer)
    st.text(printable(conclusion.meaning))  # it may repeat words of the file
    st.write(" ".join(filter(None, (conclusion.certainty, conclusion.caution))))
    st.write(f"**What to do next:** {conclusion.advice}")
    if not prediction.error and not prediction.in_domain:
        if scoring.is_of_another_detector(prediction):
            st.write("There is a detector for images of this size, but the server that answered does not have it.")
        else:
            st.write(f"Can be judged: {scoring.what_can_be_judged()}.")
        show_training_data(answer.card)
    if answer.has_number:
        with st.expander("The model's number"):
            show_number(answer)
    show_evidence(answer)


def show_pictures(index: int, answer: Answer) -> None:
    """The picture, and where there is a verdict the map of its evidence beside it."""
    prediction = answer.prediction
    if not answer.has_number:
        show_picture(answer.encoded, "The image.")
        return
    before, after = st.columns(2)
    with before:
        show_picture(answer.encoded, "The image.")
    with after:
        opacity = st.session_state.get(f"opacity_{index}", 50) / 100
        picture = draw_picture(answer.encoded, answer.explanation.heatmap, opacity, prediction.detector)
        if picture is not None:
            st.image(picture, width="stretch", alt="The image with the network's heat map over it.")
        st.slider("Opacity of the heat map, in percent", 0, 100, 50, key=f"opacity_{index}")
    square = " It is of the central square, which is all that this detector looks at."
    show_small(
        f"Bright regions spoke for “{prediction.label}”. The map is coarse: it shows where the network "
        "found its evidence, not which pixels were generated, and it proves nothing."
        + (square if sees_central_square(prediction.detector) else "")
    )


def show_number(answer: Answer) -> None:
    prediction = answer.prediction
    threshold, band = threshold_and_band(answer.card)
    st.write(describe_verdict(prediction, threshold, band))
    gauge = (prediction.probability, threshold, band)
    st.image(
        drawing.draw_gauge(*gauge, dark=st.context.theme.type == "dark"),
        width="stretch",
        alt=drawing.describe_gauge(*gauge),
    )
    if not answer.card:
        show_small("Where this server's model draws its lines is not known here: its card is not at hand.")


def describe_verdict(prediction: Prediction, threshold: float | None, band: tuple[float, float] | None) -> str:
    """The percentage, and why it makes this verdict; in Markdown, without a word from outside."""
    number = f"{drawing.NUMBER}: **{format_probability(prediction.probability)}**"
    if prediction.verdict == VERDICT_UNCERTAIN:
        where = f", {format_band(band)}," if band else ""
        return f"{number}. That lies in the uncertain band{where} where the model errs too often to say."
    if band:
        bound = f"below {band[0]:.1%}" if prediction.verdict == VERDICT_REAL else f"above {band[1]:.1%}"
        return f"{number}. The model says “{prediction.verdict}” {bound}."
    return f"{number}."


def show_picture(encoded: bytes, alternative: str) -> None:
    picture = draw_picture(encoded)
    if picture is None:
        st.write("This image cannot be shown.")
    else:
        st.image(picture, width="stretch", alt=alternative)


def show_evidence(answer: Answer) -> None:
    prediction, report = answer.prediction, answer.report
    width, height = (prediction.width, prediction.height) if prediction.width else (report.width, report.height)
    if report.format:
        size = f"{width} x {height} pixels" if width else "size unknown"
        st.text(f"{report.format}, {size}, {len(answer.encoded) / 1024:,.1f} KiB")
    with st.expander("What each witness says"):
        for statement in answer.conclusion.statements:
            against = " (against the conclusion)" if statement.contradicts else ""
            witness = "File" if statement.witness == NONE else statement.witness.replace("_", " ").capitalize()
            st.text(printable(f"{witness}{against}: {statement.sentence}"))
        for finding in report.findings:
            raw = f"\n    {finding.raw}" if finding.raw else ""
            st.text(f"{finding.source} ({finding.strength}): {finding.statement}{raw}")
        show_small("Anybody can write claims into a file; only a signature by a known party weighs more.")


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
    if network := describe_network(card):
        st.text(f"Network: {network}")
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
