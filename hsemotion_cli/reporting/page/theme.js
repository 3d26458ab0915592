// The choice of dark and light, the same on all pages; without a choice the page follows the system.

/** Call a function whenever other colours are to be used. */
function prepareTheme(redraw) {
  const choice = document.getElementById("theme");
  choice.addEventListener("change", () => {
    if (choice.value) document.documentElement.dataset.theme = choice.value;
    else delete document.documentElement.dataset.theme;
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
