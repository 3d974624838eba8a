// Updates the results without reloading the page; the page also works without this script.
"use strict";

const form = document.getElementById("request");
const sentence = document.getElementById("sentence");
const button = document.getElementById("translate");

function errorMessage(text) {
  const message = document.createElement("p");
  message.className = "error";
  message.setAttribute("role", "alert");
  message.textContent = text;
  return message;
}

async function update(result, body) {
  result.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(result.dataset.url, { method: "POST", body });
    const text = await response.text();
    // The server itself refuses some requests, in plain text.
    if (response.headers.get("Content-Type").startsWith("text/html")) result.innerHTML = text;
    else result.replaceChildren(errorMessage(text));
  } catch {
    result.replaceChildren(
      errorMessage("The server of this page is not running. Start keras-s2s web again.")
    );
  } finally {
    result.removeAttribute("aria-busy");
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.disabled) return;
  button.disabled = true;
  // Sequential, so that one model does not add to the latency of another.
  for (const result of document.querySelectorAll(".result")) {
    await update(result, new URLSearchParams(new FormData(form)));
  }
  button.disabled = false;
});

// A model with columns: Tab separates them, and leaves the field after Escape.
let leaves = !document.getElementById("columns");
sentence.addEventListener("keydown", (event) => {
  if (event.key === "Escape") leaves = true;
  if (event.key === "Tab" && !event.shiftKey && !leaves) {
    event.preventDefault();
    sentence.setRangeText("\t", sentence.selectionStart, sentence.selectionEnd, "end");
  }
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
