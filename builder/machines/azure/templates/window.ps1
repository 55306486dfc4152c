# Prints a part of a script's output; see window.sh, which does the same for Linux.
$all = [IO.File]::ReadAllBytes((Join-Path $work 'output'))
while ($true) {
    $count = [Math]::Min($length, $all.Length - $start)
    $target = New-Object IO.MemoryStream
    $packed = New-Object IO.Compression.GZipStream $target, ([IO.Compression.CompressionMode]::Compress)
    $packed.Write($all, $start, $count)
    $packed.Dispose()
    $text = [Convert]::ToBase64String($target.ToArray())
    if ($text.Length -le 3800 -or $length -le 2048) { break }
    $length = [Math]::Floor($length / 2)
}
[Console]::Out.Write("build: window $length $text`n")
