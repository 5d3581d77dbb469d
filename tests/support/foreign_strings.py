"""Twenty texts, each of them written in the syntax of some program that may read it."""

STRINGS = (
    "plain",
    "[/pytorch/third_party/gloo/pair.cc:575] closed",
    "[enforce fail at inline.cc:671] [link=http://x]y[/link]",
    '<script>alert("1")</script>&amp;\'</title>',
    '=HYPERLINK("http://x";A1),+1,-1,@SUM(1)',
    "@SUM(A1)",
    "\t=1+1",
    "a|b `c` *d* _e_ ~f~ [g](http://h) &lt; $x$",
    r"50% \input{x} $x_1$ #1 {a} ~ ^ -- \\ [1cm] *",
    "_underscore $\\frac{1}{0}$",
    '$HOME ${HOME} $(id) `id` $$ "q" it\'s \\ ! # ; & | > <',
    "%a %A %j %t %% %5n {0} {task} %s %(x)s",
    "a:b,c:d^e",
    "concat:a|b",
    "http:/x/%03d?c=#y.mp4",
    "*?[a-z]{1,2}",
    "-rf --to=x",
    "two\nlines\r\nthree",
    "\x1b[31mred\x1b[0m \x07 \x9b2J \u202egnp.exe \u2066 \u200b",
    "~root caf\u00e9 \u6f22\u5b57 \U0001f600 \udcff",
)
