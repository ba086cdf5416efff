/** Ways in which pictures come: chosen, photographed, dropped, pasted. */

/** add: called with a list of files. */
export function takeFiles({ choosers, photographers, files, camera, dropping }, add) {
  for (const button of choosers) button.addEventListener("click", () => files.click());
  for (const button of photographers) button.addEventListener("click", () => camera.click());
  for (const input of [files, camera]) {
    input.addEventListener("change", () => {
      add([...input.files]);
      input.value = "";
    });
  }
  addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length) add(pasted);
  });
  takeDropped(dropping, add);
}

function takeDropped(dropping, add) {
  let depth = 0;
  const show = () => dropping.classList.toggle("on", depth > 0);
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => {
    if (hasFiles(event)) depth += 1;
    show();
  });
  addEventListener("dragleave", (event) => {
    if (hasFiles(event)) depth = Math.max(0, depth - 1);
    show();
  });
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show();
    add([...event.dataTransfer.files]);
  });
}
