import { fromUrl, loadBundle } from "./edgecd-web/edgecd-web.js";

const form = document.getElementById("form");
const answer = document.getElementById("answer");
const address = new URLSearchParams(location.search).get("bundle") ?? "files/";

try {
  const cache = await caches.open("bundles"); // the model is fetched once
  const classifier = await loadBundle(fromUrl(address, { cache }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { label, probabilities } = await classifier.predict(document.getElementById("text").value);
    answer.textContent = `${label ?? "unsure"} ${JSON.stringify(probabilities)}`;
  });
  form.querySelector("button").disabled = false;
  answer.textContent = "";
} catch (error) {
  answer.textContent = error.message;
}
