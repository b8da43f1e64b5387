// The editors' colours: GraphiQL's own, but for those too faint to be read on its backgrounds (less than 4.5 to 1).
// Those of the documentation are in page.css.
import type { editor } from 'monaco-editor'

export const editorTheme = { light: 'plimsoll-light', dark: 'plimsoll-dark' }

const CLEAR = '#ffffff00'

/** Tell Monaco of them; it comes a moment after the page. */
export function defineThemes(define: (name: string, data: editor.IStandaloneThemeData) => void): void {
  define(editorTheme.light, {
    base: 'vs',
    inherit: true,
    colors: surfaces('#ffffff', '#d60590', '#4d5a6e'),
    rules: [
      { token: 'argument.identifier.gql', foreground: '#5f5cc2' },
      { token: 'number', foreground: '#06613f' },
    ],
  })
  define(editorTheme.dark, {
    base: 'vs-dark',
    inherit: true,
    colors: surfaces('#212a3b', '#ff5794', '#aab4c4'),
    rules: [
      { token: 'argument.identifier.gql', foreground: '#908aff' },
      { token: 'comment', foreground: '#8fbf74' },
    ],
  })
}

function surfaces(paper: string, accent: string, dim: string): editor.IColors {
  return {
    'editor.background': CLEAR,
    'scrollbar.shadow': CLEAR,
    'editorLineNumber.foreground': dim,
    'editorLineNumber.dimmedForeground': dim,
    'editorHoverWidget.background': paper,
    'editorSuggestWidget.background': paper,
    'editorSuggestWidget.selectedBackground': `${accent}19`,
    'editorSuggestWidget.selectedForeground': accent,
    'editorWidget.background': paper,
    'list.focusHighlightForeground': accent,
    'list.highlightForeground': accent,
    'list.hoverBackground': `${accent}19`,
    'menu.background': paper,
    'menu.selectionBackground': `${accent}19`,
    'menu.selectionForeground': accent,
    'quickInput.background': paper,
    'quickInputList.focusBackground': `${accent}19`,
    'textLink.activeForeground': accent,
    'textLink.foreground': accent,
    focusBorder: accent,
  }
}
