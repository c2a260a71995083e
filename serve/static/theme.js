// Colours: as the system has them, light, or dark; the choice is remembered where the browser allows it.

const NAMES = ["system", "light", "dark"];

export function setUpTheme(button) {
  apply(button, stored());
  button.addEventListener("click", () => apply(button, NAMES[(NAMES.indexOf(button.dataset.name) + 1) % NAMES.length]));
}

function apply(button, name) {
  button.dataset.name = name;
  button.textContent = `Colours: ${name}`;
  button.setAttribute("aria-label", `Colours: ${name === "system" ? "as the system has them" : name}`);
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("theme", name);
  } catch {
    // private windows refuse: the choice holds until the page is left
  }
}

function stored() {
  try {
    const name = localStorage.getItem("theme");
    return NAMES.includes(name) ? name : "system";
  } catch {
    return "system";
  }
}
