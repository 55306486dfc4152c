# Set-BuildFile SOURCE PATH: a file gets its content in one step; folders above it are made. Rights are those that its
# folder gives. A symbolic link at PATH is replaced, not followed.
function Set-BuildFile([string]$Source, [string]$Path) {
    $folder = [System.IO.Path]::GetDirectoryName($Path)
    $null = [System.IO.Directory]::CreateDirectory($folder)
    # -1 where there is nothing; what a link leads to doesn't matter
    $attributes = [int](New-Object System.IO.FileInfo $Path).Attributes
    $there = $attributes -ne -1
    $isLink = $there -and ($attributes -band [int][System.IO.FileAttributes]::ReparsePoint)
    $isFolder = $there -and ($attributes -band [int][System.IO.FileAttributes]::Directory)
    if ($isFolder -and -not $isLink) { throw "$Path is a folder: a file can't take its place" }
    $new = [System.IO.Path]::Combine($folder, '.build-new-file')
    [System.IO.File]::Copy([System.IO.Path]::Combine($env:BUILD_FILES, $Source), $new, $true)
    # What was staged may be read-only, which a file of the image isn't
    [System.IO.File]::SetAttributes($new, [System.IO.FileAttributes]::Normal)
    if ($isFolder) {
        [System.IO.Directory]::Delete($Path)
    } elseif ($there) {
        [System.IO.File]::SetAttributes($Path, [System.IO.FileAttributes]::Normal)
        [System.IO.File]::Delete($Path)
    }
    [System.IO.File]::Move($new, $Path)
    Write-Output $Path
}
