// Fills in the answers without loading the page anew; the page works without it too.
"use strict";

const form = document.getElementById("question");
const sentence = document.getElementById("sentence");
const button = document.getElementById("translate");

function problem(text) {
  const line = document.createElement("p");
  line.className = "error";
  line.setAttribute("role", "alert");
  line.textContent = text;
  return line;
}

async function fill(place, body) {
  place.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(place.dataset.address, { method: "POST", body });
    place.innerHTML = await response.text();
  } catch {
    place.replaceChildren(
      problem("No answer: the program behind this page has ended. Start keras-s2s web again.")
    );
  } finally {
    place.removeAttribute("aria-busy");
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.disabled) return;
  button.disabled = true;
  // One after the other, so that none slows down another one's time.
  for (const place of document.querySelectorAll(".answer")) {
    await fill(place, new URLSearchParams(new FormData(form)));
  }
  button.disabled = false;
});

sentence.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
